//! Start: one attempt per preview, a task of the service that its callers join.

use std::sync::Arc;

use async_trait::async_trait;

use super::api::{StartRequest, WaitOptions};
use super::common::Common;
use super::hooks::{HookRequest, ask};
use crate::environment::{self, Variables};
use crate::error::Error;
use crate::preview::{Phase, Started};
use crate::state::{SharedStart, Waiter};

/// What is done for all callers of one start.
#[async_trait]
pub(crate) trait Starter: Send + Sync + 'static {
    /// The start itself, within the preview's operation.
    ///
    /// # Errors
    /// [`Error::Abandoned`] when nobody waits any more; nothing of a failed start is left.
    async fn start(&self, request: &StartRequest, shared: &SharedStart) -> Result<Started, Error>;

    /// Whether the container that runs lacks what this caller gives, who joined another's start; it is told on the preview.
    ///
    /// # Errors
    /// The engine cannot be asked.
    async fn drift(&self, request: &StartRequest, started: &Started) -> Result<bool, Error>;

    /// Waits until what was started is ready.
    ///
    /// # Errors
    /// It cannot become it any more, or not in time.
    async fn wait_ready(&self, request: &StartRequest, started: &Started, options: WaitOptions) -> Result<(), Error>;
}

/// How far a restart came.
pub(crate) enum Restarted {
    /// The container runs once more.
    Running(Started),
    /// There is none to run once more: one is to be started with these variables of the caller's.
    Gone(Variables),
}

/// See the module.
pub(crate) struct Start {
    common: Arc<Common>,
    starter: Arc<dyn Starter>,
}

/// A caller's place in a start.
struct Joined {
    waiter: Waiter,
    /// Whether this caller opened it, so that its hooks are used.
    opened: bool,
}

impl Start {
    pub(crate) fn new(common: Arc<Common>, starter: Arc<dyn Starter>) -> Self {
        Self { common, starter }
    }

    /// Starts the preview, or joins the start that is under way, or adopts the container that runs. The place in the queue
    /// is taken at the call, not at the first poll.
    pub(crate) fn call(
        self: &Arc<Self>,
        request: StartRequest,
    ) -> impl Future<Output = Result<Started, Error>> + Send + 'static {
        let this = Arc::clone(self);
        let first = environment::validate(&request.variables).map(|()| self.join(&request));
        async move {
            let mut joined = first?;
            loop {
                match joined.waiter.result().await {
                    // The caller whose hooks were used left, or all had left before we came: begin anew.
                    Err(Error::Abandoned { .. }) if !this.common.is_closed() && !request.has_left() => {
                        joined = this.join(&request);
                    }
                    Err(Error::Abandoned { .. }) => return Err(Error::Closed { operation: "start" }),
                    result => {
                        let started = result?;
                        let joins = !joined.opened && !request.variables.is_empty();
                        if joins && this.starter.drift(&request, &started).await? && request.recreate {
                            joined = this.join(&request);
                            continue;
                        }
                        this.after(&request, &started, joined.opened).await?;
                        return Ok(started);
                    }
                }
            }
        }
    }

    /// A restart: what `restarted` gives, or a start within the same operation, so that a stop that was called after this
    /// restart comes after it. Nobody joins it. The place in the queue is taken at the call.
    pub(crate) fn restart(
        self: &Arc<Self>,
        request: StartRequest,
        restarted: impl Future<Output = Result<Restarted, Error>> + Send + 'static,
    ) -> impl Future<Output = Result<Started, Error>> + Send + 'static {
        let (mut waiter, leader) = SharedStart::open();
        let (this, asked) = (Arc::clone(self), request.clone());
        let _detached = self.common.operations.run(&request.id, "restart", async move {
            let _operation = this.common.store.begin_operation(&asked.id, Phase::Starting);
            let result = match restarted.await {
                Ok(Restarted::Running(started)) => Ok(started),
                Ok(Restarted::Gone(variables)) => {
                    let asked = StartRequest { variables, ..asked.clone() };
                    this.starter.start(&asked, leader.shared()).await
                }
                Err(error) => Err(error),
            };
            leader.finish(result);
            Ok(())
        });
        let this = Arc::clone(self);
        async move {
            match waiter.result().await {
                Err(Error::Abandoned { .. } | Error::Closed { .. }) => Err(Error::Closed { operation: "restart" }),
                result => {
                    let started = result?;
                    this.after(&request, &started, true).await?;
                    Ok(started)
                }
            }
        }
    }

    fn join(self: &Arc<Self>, request: &StartRequest) -> Joined {
        let (waiter, opened) = self.common.store.join_start(&request.id);
        let joined = Joined { waiter, opened: opened.is_some() };
        if let Some((leader, permit)) = opened {
            let (this, request) = (Arc::clone(self), request.clone());
            self.common.tasks.spawn(async move {
                permit.turn().await;
                let result = this.starter.start(&request, leader.shared()).await;
                leader.finish(result);
                this.common.operations.finish(&request.id, permit);
            });
        }
        joined
    }

    /// What follows a start. Not within the preview's operation: both may take long, and a stop must not wait for them.
    async fn after(&self, request: &StartRequest, started: &Started, opened: bool) -> Result<(), Error> {
        if opened && started.fresh {
            let monitor = HookRequest::Monitor(started.container_id.clone());
            ask(request.hooks(), Some(&request.id), monitor).await?;
        }
        match request.until_ready {
            Some(options) => self.starter.wait_ready(request, started, options).await,
            None => Ok(()),
        }
    }
}

/// Nobody waits for this start any more, or the service was closed.
pub(crate) fn is_unwanted(common: &Common, shared: &SharedStart) -> bool {
    common.is_closed() || shared.abandon()
}

/// Waits until that is so.
pub(crate) async fn wait_unwanted(common: &Common, shared: &SharedStart) {
    loop {
        tokio::select! {
            () = common.tasks.closed().cancelled() => return,
            () = shared.deserted() => {}
        }
        if is_unwanted(common, shared) {
            return;
        }
        tokio::task::yield_now().await;
    }
}
