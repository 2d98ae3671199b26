//! Larder's own documentation: the user's guide, and the developer's.
//!
//! The pages are the Markdown files of `src/docs/`, which read the same where they are hosted.
//!
//! | for users | answers |
//! |---|---|
//! | [`getting_started`] | How do I install Larder, and put it in front of my app? |
//! | [`what_is_cached`] | What is stored, for how long, and who gets it? |
//! | [`routes_and_keys`] | How do I override the defaults for some URLs? |
//! | [`personalisation`] | What keeps one user's page from another user? |
//! | [`purging`] | How do I remove what is stored? |
//! | [`watching`] | What does it do, and why did it do that? |
//! | [`operating`] | How do I run, reload, stop and upgrade it? |
//! | [`security`] | Which attacks does it expect, and what stops them? |
//! | [`benchmarks`] | How correct and how fast is it, and how do I measure that? |
//! | [`reasons`] | What does each reason mean, and how do I change it? |
//!
//! | for developers | answers |
//! |---|---|
//! | [`architecture`] | How does a request travel, and which module does what? |
//! | [`style`] | How should code, comments and commits read? |
//! | [`glossary`] | What do the names in the code mean? |
//! | [`testing`] | Which test covers what, and how do I add a key, a reason, a figure, a step? |

/// Declares a module for each page, with the page as its documentation.
///
/// The link targets come first, and the first definition of a link wins: `[purging]` leads to the
/// module in rustdoc, and to `purging.md` where the file is read by itself.
macro_rules! pages {
    ($($page:ident)*) => { pages! { @each [$($page)*] $($page)* } };
    (@each $all:tt $($page:ident)*) => { $(pages! { @one $page $all })* };
    (@one $page:ident [$($other:ident)*]) => {
        $(#[doc = concat!("[", stringify!($other), "]: crate::docs::", stringify!($other))])*
        #[doc = ""]
        #[doc = include_str!(concat!(stringify!($page), ".md"))]
        pub mod $page {}
    };
}

pages! {
    getting_started what_is_cached routes_and_keys personalisation purging
    watching operating security benchmarks reasons
    architecture style glossary testing
}
