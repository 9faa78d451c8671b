//! What depends on where this process stands in relation to the engine: on its machine, in one of its containers, or
//! elsewhere. Nothing else may assume that the engine is this machine.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::error::EngineError;
use super::spec::PortRange;
use super::workload::Workload;
use crate::preview::Endpoint;

/// Translates folders and addresses between this process and the engine's machine.
#[async_trait]
pub trait Locality: Send + Sync {
    /// A folder of this process as the engine's machine knows it; None: it is not visible there.
    async fn engine_path(&self, folder: &Path) -> Result<Option<PathBuf>, EngineError>;

    /// Where this process reaches `port` of a running workload, which is published on `bound`; None: nowhere.
    async fn reach(&self, workload: &Workload, port: u16, bound: IpAddr) -> Option<Endpoint>;

    /// Whether other programs are known to hold every one of these ports. False where this process cannot tell.
    async fn holds_all(&self, bound: IpAddr, ports: PortRange) -> bool;
}
