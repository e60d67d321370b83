//! What system tests are made of: the real parts that Aivonx works with, started by the test and ended with
//! it.
//!
//! [`Redis`], [`Postgres`], [`KubeApi`] (etcd and kube-apiserver) and [`Ollama`] each start a real program on
//! a free port with its data in a temporary folder, answer once `start` returns, and can be killed and
//! restarted in place. [`http`] is a client that shows what went over the wire and when; [`wait::eventually`]
//! waits for a condition. The programs come from `tests/tools/install`; one that is missing is an error that
//! says so, never a skipped test.
//!
//! What holds throughout:
//!
//! - Nothing outlives its test: whatever was started is ended by its process id when its value is dropped,
//!   when the test panics, and even when the test's own process is killed (see [`process::Child`]).
//! - Tests may run side by side, in one process or in many: no fixed port, no fixed folder, no shared server.
//! - A wait has a condition and a deadline, and says at the deadline what it waited for and what it saw last.
//! - No child sees the proxy settings, the home folder or the kubeconfig of whoever runs the tests.

pub mod http;
mod kube_api;
mod ollama;
pub mod ports;
mod postgres;
pub mod process;
pub mod programs;
mod redis;
pub mod tools;
pub mod wait;

pub use self::kube_api::KubeApi;
pub use self::ollama::Ollama;
pub use self::postgres::Postgres;
pub use self::redis::Redis;
