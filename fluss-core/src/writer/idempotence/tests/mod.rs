//! Tests of the manager against a model of the server.

mod answers;
mod explore;
mod fatal;
mod life;
mod loss;
mod model;
mod named;
mod random;
mod rules;
mod world;
