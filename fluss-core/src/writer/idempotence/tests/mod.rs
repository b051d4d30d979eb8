//! Tests of the manager against a model of the server.

mod answers;
mod counted;
mod explore;
mod fatal;
mod life;
mod loss;
mod model;
mod moments;
mod named;
mod random;
mod rules;
mod watch;
mod world;
