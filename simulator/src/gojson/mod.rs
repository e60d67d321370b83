//! JSON as Go's `encoding/json` reads it, for a gateway must not read a body otherwise than the node does:
//! only the first value counts, keys match whatever their case and the last one wins, lone surrogates and
//! broken UTF-8 are accepted, numbers of any size are, and the error texts are Go's.
//!
//! Nothing here recurses: the scanner walks with a stack of its own and values stay slices of the body until
//! somebody asks, so depth costs no stack.

mod base64;
mod fields;
mod scan;
mod value;

pub use base64::base64_error;
pub use fields::{Decoded, Fields, GoType, decode};
pub use scan::{ScanError, first_value};
pub use value::{Kind, Raw};
