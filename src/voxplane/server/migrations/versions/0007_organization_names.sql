GRANT UPDATE (name) ON organizations TO voxplane_app;
