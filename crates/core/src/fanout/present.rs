//! Present: who has everything of a topic is told what the task is now, where no entry told him.

use super::{Effect, Fanout, Page, Socket, Topic};
use crate::position::Run;
use crate::present::Version;
use crate::slots::Key;

/// What a viewer lacks of a topic's present state.
enum Lacks {
    /// Nothing.
    Nothing,
    /// That can only be said once the state was read, or read again.
    Unread,
    /// What is so when its socket is free.
    Later,
    /// These frames.
    Told(Box<Page>),
}

impl<T: Topic> Fanout<T> {
    /// Whether a viewer who has everything may have to be told something, where readings are told up to
    /// this version.
    pub(super) fn may_lack_state(&self, key: Key, told: Version) -> bool {
        self.viewers.get(key).is_some_and(|viewer| viewer.version != told)
    }

    /// Puts what a viewer lacks of the present state before it, which has everything of its topic; where its
    /// socket is full, what it still lacks when that is free. Whether it lacks something.
    pub(super) fn take_present(&mut self, key: Key) -> bool {
        let Some(viewer) = self.viewers.get_mut(key) else { return false };
        let Some(local) = self.topics.get(viewer.topic) else { return false };
        let topic = local.topic.clone();
        let (version, since, position) = (viewer.version, viewer.since.as_deref(), viewer.position);
        let is_free = self.sockets.get(viewer.socket).is_some_and(Socket::is_free);
        let account = &self.account;
        let found = topic.with_log(|log| {
            let present = log.present();
            if present.told() == 0 {
                return (version, Lacks::Unread);
            }
            let lacks = match present.lacks(version, since.copied()) {
                None => return (version, Lacks::Nothing),
                Some(lacks) if !lacks.any() => {
                    return (present.passed_to(version), Lacks::Nothing);
                }
                Some(lacks) => lacks,
            };
            let Some(standing) = present.standing() else { return (version, Lacks::Unread) };
            if !is_free {
                return (version, Lacks::Later);
            }
            let frames = standing.frames(account, topic.thread(), position.id, lacks);
            let (run, then) = (Run::of_state(frames), Some(position));
            let page = Page { run, then, state: None, lasts: true };
            (present.told(), Lacks::Told(Box::new(page)))
        });
        let Some((told, lacks)) = found else { return false };
        if told != viewer.version {
            viewer.has_state(told);
        }
        match lacks {
            Lacks::Nothing => false,
            Lacks::Later => true,
            Lacks::Unread => {
                self.effects.push_back(Effect::ReadState(topic));
                false
            }
            Lacks::Told(page) => {
                viewer.position.forget_place();
                viewer.page = Some(page);
                true
            }
        }
    }
}
