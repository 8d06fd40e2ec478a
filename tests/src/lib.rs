//! The harness of the integration tests: a real nats-server, real Nix, a real git repository, and
//! the real `producer`, `worker` and `gate`.
//!
//! A test starts at [`pool::Pool`] and tells a story; the other modules are its props and can be
//! used alone. Everything lives in temporary folders of one test and ends with it, so tests run in
//! parallel and leave no process behind. Calls block: what a test waits for is another process.

pub mod browser;
pub mod certificates;
pub mod collector;
pub mod disk;
pub mod flake;
pub mod forge;
pub mod http;
pub mod keys;
pub mod nats;
pub mod nix_daemon;
pub mod nix_store;
pub mod poll;
pub mod pool;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod repo;
pub mod scratch;
pub mod stranger;
pub mod tap;
pub mod terminal;
pub mod updates;

pub use browser::Browser;
pub use collector::Collector;
pub use disk::SmallDisk;
pub use flake::Flake;
pub use forge::MockForge;
pub use keys::{KeyedOptions, KeyedPool, KeyedServer};
pub use nats::NatsServer;
pub use nix_daemon::NixDaemon;
pub use nix_store::NixStore;
pub use poll::eventually;
pub use pool::{Pool, PoolOptions, WorkerOptions};
pub use process::{Output, Spawned};
pub use prometheus::{Prometheus, PushGateway};
pub use proxy::Proxy;
pub use repo::Repo;
pub use scratch::scratch;
pub use stranger::Stranger;
pub use tap::Tap;
pub use terminal::Terminal;
pub use updates::Updates;
