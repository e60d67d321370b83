-- Changes of health, newest kept; each write deletes what is too old or too much.
CREATE TABLE aivonx.health_transitions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node       text NOT NULL,
    at         timestamptz NOT NULL,
    from_state text NOT NULL,
    to_state   text NOT NULL,
    reason     text NOT NULL,
    message    text NOT NULL
);

CREATE INDEX health_transitions_node ON aivonx.health_transitions (node, id);
CREATE INDEX health_transitions_at ON aivonx.health_transitions (at);

COMMENT ON TABLE aivonx.health_transitions IS 'When and why a node became healthy or unhealthy';
