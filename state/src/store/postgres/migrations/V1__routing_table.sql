-- The last good routing table: one row.
CREATE TABLE aivonx.routing_table (
    singleton    boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    epoch        bigint NOT NULL CHECK (epoch >= 0),
    revision     bigint NOT NULL CHECK (revision >= 0),
    digest       text NOT NULL,
    strategy     text NOT NULL,
    published_at timestamptz NOT NULL,
    -- json, not jsonb: the digest covers the text as it was written, and jsonb does not keep it.
    body         json NOT NULL
);

COMMENT ON TABLE aivonx.routing_table IS 'The last good routing table; written only by a newer (epoch, revision)';
COMMENT ON COLUMN aivonx.routing_table.body IS 'Node id to its entry';
