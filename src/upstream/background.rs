//! Background tasks of upstreams, once for the whole process.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{
    connect::Connector,
    dns::{self, Resolver},
    endpoints::EndpointGroup,
    probe,
};

/// Tasks of the upstreams that are served; dropping it ends them.
pub struct BackgroundTasks {
    connector: Connector,
    resolver: Resolver,
    tasks: Vec<(Arc<EndpointGroup>, JoinSet<()>)>,
}

impl BackgroundTasks {
    /// Creates it without tasks.
    #[must_use]
    pub fn new(connector: Connector, resolver: Resolver) -> Self {
        Self { connector, resolver, tasks: Vec::new() }
    }

    /// Runs the tasks of these groups from now on, and no others. Must be called on the runtime
    /// that runs them.
    pub fn replace_tasks(&mut self, groups: &[Arc<EndpointGroup>]) {
        // Dropping a set aborts its tasks. Groups that stay keep theirs, so their probes
        // keep counting.
        self.tasks.retain(|(tended, _)| groups.iter().any(|group| Arc::ptr_eq(group, tended)));
        for group in groups {
            if !self.tasks.iter().any(|(tended, _)| Arc::ptr_eq(group, tended)) {
                self.tasks.push((Arc::clone(group), self.start(group)));
            }
        }
    }

    /// Starts the tasks of a group; plain addresses need none.
    fn start(&self, group: &Arc<EndpointGroup>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for name in group.names() {
            tasks.spawn(dns::keep(Arc::clone(group), Arc::clone(name), self.resolver.clone()));
        }
        if let Some(active) = &group.settings().active {
            tasks.spawn(probe::run(
                Arc::clone(group),
                active.clone(),
                group.connector(&self.connector),
            ));
        }
        tasks
    }
}
