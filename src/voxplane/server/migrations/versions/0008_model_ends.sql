-- When the provider said that the model of a test ends.

ALTER TABLE provider_verifications ADD COLUMN retires_on date;
