-- What each declared node has on disk now.
CREATE TABLE aivonx.node_inventory (
    node        text NOT NULL,
    name        text NOT NULL,
    digest      text NOT NULL,
    -- json, not jsonb: it holds text that nodes write, and jsonb refuses some of it (\u0000).
    model       json NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (node, name)
);

CREATE INDEX node_inventory_digest ON aivonx.node_inventory (digest);

COMMENT ON TABLE aivonx.node_inventory IS 'Models that each node has on disk';
