//! The way of a request. [`gateway`] is the walk; each phase is a module.

mod accept;
mod admit;
mod answer;
mod asked;
mod authenticate;
mod body;
mod exchange;
mod finish;
pub(crate) mod gateway;
mod limit;
mod local;
mod path;
mod route;
pub(crate) mod routes;
mod trace;

pub(crate) use gateway::Gateway;
