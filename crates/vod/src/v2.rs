//! The 2.0 format: `{"version":"4.0","eventType":…,"data":{…}}` with names of its own, which
//! accounts older than the change of 2019 may still get. It is passed on as it is.
//!
//! <https://cloud.tencent.com/document/product/266/33796>

use std::sync::LazyLock;

use crate::catalogue::{FactPaths, paths};

/// What an event type of a 2.0 body starts with, so that it never shares a topic with 3.0.
pub(crate) const PREFIX: &str = "v2.";

/// What `{event_type}` is where the 2.0 type is not documented.
pub(crate) const OTHER: &str = "v2.other";

/// The documented 2.0 types.
pub(crate) const NAMES: [&str; 9] = [
    "v2.NewFileUpload",
    "v2.PullComplete",
    "v2.FileDeleted",
    "v2.ProcedureStateChanged",
    "v2.TranscodeComplete",
    "v2.CreateSnapshotByTimeOffsetComplete",
    "v2.CreateImageSpriteComplete",
    "v2.ClipComplete",
    "v2.ConcatComplete",
];

/// The one type that has no task, and yet happens once to a file.
pub(crate) const UPLOADED: &str = "v2.NewFileUpload";

/// Where facts stand below `data`. The first letter of a name may be of either case, which also
/// finds those of 3.0 that one page of the vendor prints inside a 2.0 body.
pub(crate) static FACTS: LazyLock<FactPaths> = LazyLock::new(|| {
    let files = [
        "fileId",
        "fileInfo.fileId",
        "fileInfo[].fileId",
        "srcFileId",
    ];
    FactPaths {
        subject: paths(files),
        files: paths(files),
        task: paths(["vodTaskId", "taskId"]),
        status: paths(["status"]),
        results: paths([
            "processTaskList[]",
            "contentReviewList[]",
            "aIAnalysisList[]",
            "fileInfo",
            "fileInfo[]",
            "picInfo[]",
            "",
        ]),
        times: Vec::new(),
    }
});
