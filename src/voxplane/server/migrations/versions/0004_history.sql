-- History and audit: who changed settings and by what, and whether a secret was ever stored.

-- The release before this one leaves them empty, hence no NOT NULL.
ALTER TABLE config_history
    ADD COLUMN actor_name    text,
    ADD COLUMN action        text,     -- as the audit log calls it
    ADD COLUMN restored_from bigint;   -- the revision whose settings these are

-- Beside its data keys an organization has one key that marks secrets in the audit log. Its version is 0, and it
-- outlives the data keys.
ALTER TABLE organization_data_keys
    ADD COLUMN purpose text NOT NULL DEFAULT 'data' CHECK (purpose IN ('data', 'mac')),
    ADD CHECK ((purpose = 'mac') = (version = 0));

-- The history of a provider tells when its secrets changed. Releases are most of the log and stay out of the index.
CREATE INDEX audit_events_secrets ON audit_events (organization_id, target, seq)
    WHERE action IN ('secrets.put', 'secrets.delete');
