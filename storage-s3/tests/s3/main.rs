//! S3 storage against a server of ours on a loopback port.

mod loopback;
mod objects;
mod scans;
mod signature;
mod tls;
