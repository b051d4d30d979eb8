//! Tests of the manager against a model of the server.

mod model;
mod random;
mod world;
