//! Tests of the manager against a model of the server.

mod answers;
mod fatal;
mod life;
mod loss;
mod model;
mod random;
mod rules;
mod world;
