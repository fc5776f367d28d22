-- What tests of providers as they are saved found: the last of each, and a few before it.

CREATE TABLE provider_verifications (
    organization_id     uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    provider_key        text NOT NULL REFERENCES providers,
    checked_at          timestamptz NOT NULL,
    checked_by          text NOT NULL,
    outcome             text NOT NULL,
    stages              jsonb NOT NULL,
    milliseconds        integer NOT NULL,
    http_status         integer,
    retry_after_seconds integer,
    model               text,
    origin              text,
    -- What it holds for: the organization's revision as the test found it, and the definition that it went by.
    revision            bigint NOT NULL,
    definition          text NOT NULL,
    -- What is known after it, from this test or an earlier one of the same settings and secrets: since when, and when
    -- it was last shown.
    verdict             text NOT NULL CHECK (verdict IN ('works', 'fails', 'inconclusive')),
    since               timestamptz NOT NULL,
    proved_at           timestamptz NOT NULL,
    PRIMARY KEY (organization_id, provider_key, checked_at)
);

ALTER TABLE provider_verifications ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON provider_verifications USING (organization_id = current_organization());

GRANT SELECT, INSERT, DELETE ON provider_verifications TO voxplane_app;
