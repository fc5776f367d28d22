-- What the import from the old system left to a person, by organization, until somebody says that it is done.

CREATE TABLE import_notices (
    organization_id uuid PRIMARY KEY REFERENCES organizations ON DELETE CASCADE,
    imported_at     timestamptz NOT NULL,
    imported_by     text NOT NULL,
    -- Places in the blob and words of ours; never a text of the blob.
    findings        jsonb NOT NULL,
    -- Those that somebody said are done, so that they do not come back.
    done            jsonb NOT NULL DEFAULT '[]',
    done_at         timestamptz,
    done_by         text
);

ALTER TABLE import_notices ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON import_notices USING (organization_id = current_organization());

GRANT SELECT, INSERT, UPDATE ON import_notices TO voxplane_app;
