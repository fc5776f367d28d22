-- Workers: tokens of a fleet that serves several organizations, and what workers report of providers.

-- A fleet's token is bound to no organization of its own; it may act for those on this list, one at a time.
ALTER TABLE access_tokens ADD COLUMN organizations uuid[]
    CHECK (organizations IS NULL OR organization_id IS NULL);

CREATE TABLE provider_reports (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    provider_key    text NOT NULL REFERENCES providers,
    outcome         text NOT NULL CHECK (outcome IN ('failed', 'recovered')),
    kind            text,
    since           timestamptz NOT NULL,  -- of the present outcome
    reported_at     timestamptz NOT NULL,
    reported_by     text NOT NULL,
    reports         bigint NOT NULL,       -- how often the present outcome was reported
    revision        bigint NOT NULL,       -- the organization's, as the worker had it in use
    PRIMARY KEY (organization_id, provider_key)
);

ALTER TABLE provider_reports ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON provider_reports USING (organization_id = current_organization());

GRANT SELECT, INSERT, UPDATE ON provider_reports TO voxplane_app;
GRANT UPDATE (organizations) ON access_tokens TO voxplane_app;
