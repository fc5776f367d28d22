-- What workers report is of the settings and the key that they had in use.

-- At which revision each provider's settings or secrets last changed: what was seen of it before says nothing of now.
ALTER TABLE organizations ADD COLUMN provider_revisions jsonb NOT NULL DEFAULT '{}';
GRANT UPDATE (provider_revisions) ON organizations TO voxplane_app;
