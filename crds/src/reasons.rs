//! Why a condition has its status, and what an event is about. Stable, CamelCase: scripts match on them.

macro_rules! reasons {
    ($( $(#[$doc:meta])* $name:ident = $text:literal; )*) => {
        $( $(#[$doc])* pub const $name: &str = $text; )*
    };
}

// Of conditions.
reasons! {
    /// Nothing is known yet.
    PENDING = "Pending";
    /// The node takes requests.
    READY = "Ready";
    /// The spec is valid and everything it names exists.
    ACCEPTED = "Accepted";
    /// The node answers its health check.
    REACHABLE = "Reachable";
    /// The list of models was read.
    SYNCED = "Synced";
    /// The routing table with this node is in the store.
    PUBLISHED = "Published";
    /// The spec does not keep the rules of its kind.
    INVALID_SPEC = "InvalidSpec";
    /// The address cannot be a node.
    INVALID_URL = "InvalidUrl";
    /// The spec asks for something that this version cannot do.
    NOT_SUPPORTED = "NotSupported";
    /// `spec.serviceRef` names a Service that does not exist.
    SERVICE_NOT_FOUND = "ServiceNotFound";
    /// The Service exists, but has no such port.
    SERVICE_PORT_NOT_FOUND = "ServicePortNotFound";
    /// `spec.serviceRef` names another namespace.
    NAMESPACE_NOT_ALLOWED = "NamespaceNotAllowed";
    /// What the spec names could not be looked up just now.
    RESOLVE_FAILED = "ResolveFailed";
    /// The owner stopped new requests.
    CORDONED = "Cordoned";
    /// The owner stopped new requests for good.
    DRAINING = "Draining";
    /// No connection within the time allowed.
    CONNECT_TIMEOUT = "ConnectTimeout";
    /// Nobody listens at the address.
    CONNECTION_REFUSED = "ConnectionRefused";
    /// The host name has no address.
    DNS_FAILED = "DnsFailed";
    /// The TLS handshake failed.
    TLS_FAILED = "TlsFailed";
    /// The node wants credentials, or refused the ones it got (401 or 403).
    UNAUTHORIZED = "Unauthorized";
    /// Something answers, but not as Ollama does.
    NOT_OLLAMA = "NotOllama";
    /// The list of models could not be read.
    INVENTORY_FAILED = "InventoryFailed";
    /// The store did not take the routing table.
    STORE_UNAVAILABLE = "StoreUnavailable";
    /// The routing table is on its way to the store.
    PUBLISH_PENDING = "PublishPending";
}

// Of events.
reasons! {
    /// A node became ready for the first time.
    NODE_READY = "NodeReady";
    /// A node stopped answering.
    NODE_UNREACHABLE = "NodeUnreachable";
    /// A node answers again.
    NODE_RECOVERED = "NodeRecovered";
    /// The set of models on a node changed.
    MODELS_CHANGED = "ModelsChanged";
    /// A spec was not accepted.
    CONFIG_REJECTED = "ConfigRejected";
}
