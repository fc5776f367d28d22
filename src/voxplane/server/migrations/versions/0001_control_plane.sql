-- The control plane: catalogue, organizations, their settings, secrets and tokens, history and audit.
--
-- Every tenant table is under forced row level security, the second lock behind the WHERE of each statement.
-- A transaction names its tenant with set_config('voxplane.organization_id', ..., true). After a transaction the
-- setting reads '' instead of null, hence the nullif.

CREATE FUNCTION current_organization() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('voxplane.organization_id', true), '')::uuid;

-- Platform administration (creating and listing organizations) is a mode of its own, never the default.
CREATE FUNCTION is_platform() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(current_setting('voxplane.platform', true), '') = 'on';

CREATE TABLE installation (
    is_only   boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    kek_id    text NOT NULL,
    audit_key bytea NOT NULL,  -- wrapped; that it unwraps proves the key that this process holds
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE providers (
    key        text PRIMARY KEY,
    type       text NOT NULL CHECK (type IN ('stt', 'tts', 'llm')),
    name       text NOT NULL,
    definition jsonb NOT NULL,
    digest     text NOT NULL,
    retired_at timestamptz
);

CREATE TABLE organizations (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    slug            text NOT NULL UNIQUE,
    name            text NOT NULL,
    epoch           uuid NOT NULL DEFAULT gen_random_uuid(),
    revision        bigint NOT NULL DEFAULT 0,
    -- How often each provider's secrets changed. An envelope states its own number under its seal, so that an
    -- older envelope put back in place is found out.
    secret_versions jsonb NOT NULL DEFAULT '{}',
    audit_seq       bigint NOT NULL DEFAULT 0,
    audit_hash      bytea NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE organization_provider_configs (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    provider_key    text NOT NULL REFERENCES providers,
    config          jsonb NOT NULL CHECK (jsonb_typeof(config) = 'object'),
    schema_version  integer NOT NULL,
    is_enabled      boolean NOT NULL,
    priority        integer NOT NULL CHECK (priority BETWEEN 0 AND 1000),
    revision        bigint NOT NULL,
    updated_at      timestamptz NOT NULL,
    updated_by      text NOT NULL,
    PRIMARY KEY (organization_id, provider_key)
);

CREATE TABLE organization_secrets (
    organization_id uuid PRIMARY KEY REFERENCES organizations ON DELETE CASCADE,
    secrets         jsonb NOT NULL CHECK (jsonb_typeof(secrets) = 'object'),
    updated_at      timestamptz NOT NULL
);

CREATE TABLE organization_data_keys (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    version         integer NOT NULL,
    wrapped         bytea NOT NULL,
    kek_id          text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, version)
);
CREATE INDEX ON organization_data_keys (kek_id);

CREATE TABLE access_tokens (
    id              text PRIMARY KEY,
    organization_id uuid REFERENCES organizations ON DELETE CASCADE,
    name            text NOT NULL,
    hash            bytea NOT NULL,
    scopes          text[] NOT NULL,
    created_at      timestamptz NOT NULL,
    created_by      text NOT NULL,
    expires_at      timestamptz,
    revoked_at      timestamptz
);
CREATE INDEX ON access_tokens (organization_id, created_at);

CREATE TABLE config_history (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    provider_key    text NOT NULL REFERENCES providers,
    revision        bigint NOT NULL,
    before          jsonb,
    after           jsonb,
    actor           text NOT NULL,
    at              timestamptz NOT NULL,
    PRIMARY KEY (organization_id, provider_key, revision)
);

CREATE TABLE audit_events (
    organization_id uuid NOT NULL REFERENCES organizations,
    seq             bigint NOT NULL,
    at              timestamptz NOT NULL,
    actor           text NOT NULL,
    action          text NOT NULL,
    target          text NOT NULL,
    outcome         text NOT NULL,
    request_id      text,
    detail          jsonb NOT NULL,
    prev_hash       bytea NOT NULL,
    hash            bytea NOT NULL,
    PRIMARY KEY (organization_id, seq)
);

ALTER TABLE organizations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON organizations USING (id = current_organization());
CREATE POLICY platform_reads ON organizations FOR SELECT USING (is_platform());
CREATE POLICY platform_creates ON organizations FOR INSERT WITH CHECK (is_platform());

ALTER TABLE organization_provider_configs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON organization_provider_configs USING (organization_id = current_organization());

ALTER TABLE organization_secrets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON organization_secrets USING (organization_id = current_organization());

ALTER TABLE organization_data_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON organization_data_keys USING (organization_id = current_organization());

ALTER TABLE config_history ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON config_history USING (organization_id = current_organization());

ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit_events USING (organization_id = current_organization());

ALTER TABLE access_tokens ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON access_tokens USING (organization_id = current_organization());
-- Who calls is not known before the token is read: a transaction may read the one token that it names.
CREATE POLICY presented ON access_tokens FOR SELECT
    USING (id = nullif(current_setting('voxplane.token_id', true), ''));
CREATE POLICY platform ON access_tokens
    USING (organization_id IS NULL AND is_platform());

GRANT USAGE ON SCHEMA voxplane TO voxplane_app;
GRANT SELECT ON alembic_version, installation, providers TO voxplane_app;
GRANT SELECT, INSERT ON organizations, config_history, audit_events TO voxplane_app;
GRANT UPDATE (revision, secret_versions, audit_seq, audit_hash) ON organizations TO voxplane_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON organization_provider_configs TO voxplane_app;
GRANT SELECT, INSERT, UPDATE ON organization_secrets TO voxplane_app;
GRANT SELECT, INSERT ON organization_data_keys TO voxplane_app;
GRANT SELECT, INSERT, UPDATE (revoked_at) ON access_tokens TO voxplane_app;
