, kept AS (
    INSERT INTO uuids (uuid) SELECT uuid FROM given
)
