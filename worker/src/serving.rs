//! Which of the classes that a worker could build it serves: those that are set up.
//!
//! A worker with features could build many combinations of them, and few fleets set up all. Those
//! that are missing at its start are looked for again now and then: a class that is set up later is
//! served without a restart.

use std::time::Duration;

use bus::{Bus, Error};
use futures_util::future::join_all;
use proto::{Class, Priority, topology};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info};

/// What a worker serves.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) classes: Vec<Class>,
    /// The shortest `ack_wait` of the consumers, which `setup` makes all the same.
    pub(crate) lease: Duration,
    /// What it could serve too.
    missing: Vec<Class>,
}

impl Serving {
    /// Looks for the consumers of all classes at once.
    ///
    /// # Errors
    /// No answer; or a class without features, which every job of that system needs, is not set up.
    pub(crate) async fn find(bus: &Bus, possible: &[Class]) -> Result<Self, Error> {
        let looks = join_all(possible.iter().map(|class| lease(bus, class))).await;
        let mut found = Self { classes: Vec::new(), lease: Duration::MAX, missing: Vec::new() };
        for (class, look) in possible.iter().zip(looks) {
            let plain = class.system() == class.as_str();
            match look {
                Ok(lease) => {
                    found.classes.push(class.clone());
                    found.lease = found.lease.min(lease);
                }
                Err(Error::NotServed { .. } | Error::Denied { .. }) if !plain => {
                    found.missing.push(class.clone());
                }
                Err(error) => return Err(error),
            }
        }
        if !found.missing.is_empty() {
            let missing: Vec<&str> = found.missing.iter().map(Class::as_str).collect();
            debug!("not set up, and not served: {}", missing.join(", "));
        }
        Ok(found)
    }

    /// Looks for what is missing, this often; tells what was set up meanwhile.
    pub(crate) fn watch(
        &mut self,
        bus: Bus,
        every: Duration,
        stop: CancellationToken,
        tasks: &TaskTracker,
    ) -> mpsc::Receiver<Class> {
        let (tell, told) = mpsc::channel(1);
        let mut missing = std::mem::take(&mut self.missing);
        tasks.spawn(async move {
            while !missing.is_empty() {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(every) => {}
                }
                let looks = join_all(missing.iter().map(|class| lease(&bus, class))).await;
                let (found, still): (Vec<_>, Vec<_>) =
                    missing.into_iter().zip(looks).partition(|(_, look)| look.is_ok());
                missing = still.into_iter().map(|(class, _)| class).collect();
                for (class, _) in found {
                    info!("class {class} is set up now: serving it too");
                    if tell.send(class).await.is_err() {
                        return;
                    }
                }
            }
        });
        told
    }
}

/// The shortest `ack_wait` of a class's consumers.
async fn lease(bus: &Bus, class: &Class) -> Result<Duration, Error> {
    let mut shortest = Duration::MAX;
    for priority in Priority::ALL {
        let name = topology::consumer_name(class, priority);
        shortest = shortest.min(bus.ack_wait(&name).await?);
    }
    Ok(shortest)
}
