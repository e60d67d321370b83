//! The one cryptography provider of the process.

/// Makes aws-lc-rs the provider of every rustls connection in this process. Calling it again changes nothing.
pub fn install_crypto_provider() {
    // An error means that a provider is installed already, which is what was wanted.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}
