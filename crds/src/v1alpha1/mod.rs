//! Version `v1alpha1` of the group `aivonx.io`.

mod node;

pub use node::*;
