//! The functions that stand in the place of libc's.
//!
//! Each makes the system call itself: asking the dynamic linker for libc's own function would need memory and locks in
//! places where there may be none yet.

#![expect(
    unsafe_code,
    reason = "functions of libc's names and types, called by C; nothing safe can stand in their place"
)]

use std::{
    ffi::{CStr, c_char},
    io::Write as _,
    mem::MaybeUninit,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use libc::{
    c_int, c_long, c_uint, c_void, clockid_t, iovec, mode_t, off_t, size_t, ssize_t, time_t, timespec, timeval,
};

use crate::control::{Control, STEPS_BELOW, VARIABLE};

static CONTROL: AtomicPtr<Control> = AtomicPtr::new(ptr::null_mut());

/// Runs when the library is loaded, before the program's own `main`.
#[used]
// SAFETY: the section holds pointers to functions of this type, which the loader calls once each.
#[unsafe(link_section = ".init_array")]
static ATTACH: extern "C" fn() = attach;

extern "C" fn attach() {
    let mut name = [0; 64];
    name[..VARIABLE.len()].copy_from_slice(VARIABLE.as_bytes());
    let Ok(name) = CStr::from_bytes_until_nul(&name) else { return };
    // SAFETY: the name ends with a zero byte. Nobody changes the environment yet: the program has not begun.
    let path = unsafe { libc::getenv(name.as_ptr()) };
    if path.is_null() {
        return;
    }
    // SAFETY: `getenv` gives a string that ends with a zero byte, and stays until the environment changes.
    let file = unsafe { libc::open(path, libc::O_RDWR | libc::O_CLOEXEC) };
    if file < 0 {
        return;
    }
    let mut found = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: there is room for the answer.
    let is_known = unsafe { libc::fstat(file, found.as_mut_ptr()) } == 0;
    // SAFETY: only looked at if `fstat` filled it.
    let is_whole = is_known && unsafe { found.assume_init_ref() }.st_size == size_of::<Control>() as i64;
    if is_whole {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at a place of the system's choice, as long as the file, which nobody makes shorter.
        let mapped = unsafe { libc::mmap(ptr::null_mut(), size_of::<Control>(), protection, flags, file, 0) };
        if mapped != libc::MAP_FAILED {
            CONTROL.store(mapped.cast(), Ordering::Release);
        }
    }
    // SAFETY: opened above and used by nobody else; the mapping does not need it.
    unsafe { libc::close(file) };
    if let Some(control) = control() {
        control.loaded.fetch_add(1, Ordering::Relaxed);
    }
}

fn control() -> Option<&'static Control> {
    // SAFETY: null, or the mapping of `attach`: page aligned, long enough, never unmapped. The type has atomic fields
    // only, for which every value is valid, so that another process may write it at any time.
    unsafe { CONTROL.load(Ordering::Acquire).as_ref() }
}

fn fails<T: From<i8>>(errno: c_int) -> T {
    // SAFETY: libc gives each thread a place for its own error.
    unsafe { *libc::__errno_location() = errno };
    T::from(-1)
}

fn fails_sync() -> bool {
    control().is_some_and(Control::fails_sync)
}

/// How many of `wanted` bytes may be written to `fd`. What is no regular file needs no room, and neither do the standard
/// streams, in which a test reads what the process said.
fn room(fd: c_int, wanted: size_t) -> size_t {
    let Some(control) = control() else { return wanted };
    if wanted == 0 || fd <= libc::STDERR_FILENO || control.space_left.load(Ordering::Relaxed) < 0 || !is_file(fd) {
        return wanted;
    }
    control.take_space(wanted)
}

fn is_file(fd: c_int) -> bool {
    let mut found = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: there is room for the answer, which is looked at only if it was filled in.
    unsafe { libc::fstat(fd, found.as_mut_ptr()) == 0 && found.assume_init().st_mode & libc::S_IFMT == libc::S_IFREG }
}

/// Whether the process is to die in this call, which changes what `is_below` says is among the steps.
fn dies(is_below: impl FnOnce() -> bool) -> bool {
    control().is_some_and(|control| control.counts_steps() && is_below() && control.is_last_step())
}

/// Ends the process as if it were killed from outside.
fn die() -> ! {
    loop {
        // SAFETY: these system calls take numbers only.
        unsafe { libc::syscall(libc::SYS_kill, libc::syscall(libc::SYS_getpid), libc::SIGKILL) };
    }
}

/// Whether what `fd` stands for lies where steps are counted.
fn is_open_below(fd: c_int) -> bool {
    let mut link = [0_u8; 32];
    // The last byte stays zero: the number of a file is shorter.
    if write!(&mut link[..31], "/proc/self/fd/{fd}").is_err() {
        return false;
    }
    let mut target = [0_u8; 512];
    // SAFETY: the name ends with a zero byte, and there is room for as much as is said.
    let length = unsafe { libc::syscall(libc::SYS_readlink, link.as_ptr(), target.as_mut_ptr(), target.len()) };
    usize::try_from(length).is_ok_and(|length| is_below(&target[..length]))
}

/// Whether the file of this name lies where steps are counted.
///
/// # Safety
/// `path` is null or ends with a zero byte.
unsafe fn is_named_below(path: *const c_char) -> bool {
    // SAFETY: the caller's word.
    !path.is_null() && is_below(unsafe { CStr::from_ptr(path) }.to_bytes())
}

fn is_below(path: &[u8]) -> bool {
    path.windows(STEPS_BELOW.len()).any(|part| part == STEPS_BELOW.as_bytes())
}

/// Whether all of `buffers` may be written. They are never cut: a caller of these functions cannot tell where.
///
/// # Safety
/// `buffers` points to `count` buffers.
unsafe fn room_for_all(fd: c_int, buffers: *const iovec, count: c_int) -> bool {
    let Ok(count) = usize::try_from(count) else { return true };
    // SAFETY: the caller's word, which is that of the function in whose place this one stands.
    let buffers = unsafe { std::slice::from_raw_parts(buffers, count) };
    let wanted = buffers.iter().map(|buffer| buffer.iov_len).sum();
    room(fd, wanted) >= wanted
}

macro_rules! syncs {
    ($($(#[$doc:meta])* $name:ident($fd:ident: c_int $(, $arg:ident: $type:ty)*) = $number:ident;)*) => {$(
        $(#[$doc])*
        // SAFETY: the name and the type are libc's.
        #[unsafe(no_mangle)]
        pub extern "C" fn $name($fd: c_int $(, $arg: $type)*) -> c_int {
            if fails_sync() {
                return fails(libc::EIO);
            }
            if dies(|| is_open_below($fd)) {
                die();
            }
            // SAFETY: this system call takes numbers only.
            unsafe { libc::syscall(libc::$number, $fd $(, $arg)*) as c_int }
        }
    )*};
}

macro_rules! named {
    ($($(#[$doc:meta])* $name:ident($path:ident $(, $arg:ident: $type:ty)*) = $number:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// That of the system call.
        // SAFETY: the name and the type are libc's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($path: *const c_char $(, $arg: $type)*) -> c_int {
            // SAFETY: the caller's word.
            if dies(|| unsafe { is_named_below($path) }) {
                die();
            }
            // SAFETY: the caller's word.
            unsafe { libc::syscall(libc::$number, $path $(, $arg)*) as c_int }
        }
    )*};
}

named! {
    /// See rename(2).
    rename(from, to: *const c_char) = SYS_rename;
    /// See unlink(2).
    unlink(path) = SYS_unlink;
    /// See mkdir(2).
    mkdir(path, mode: mode_t) = SYS_mkdir;
    /// See rmdir(2).
    rmdir(path) = SYS_rmdir;
}

/// See unlinkat(2).
///
/// # Safety
/// That of the system call.
// SAFETY: the name and the type are libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int {
    if dies(|| is_open_below(folder)) {
        die();
    }
    // SAFETY: the caller's word.
    unsafe { libc::syscall(libc::SYS_unlinkat, folder, path, flags) as c_int }
}

syncs! {
    /// See fsync(2).
    fsync(fd: c_int) = SYS_fsync;
    /// See fdatasync(2).
    fdatasync(fd: c_int) = SYS_fdatasync;
    /// See sync_file_range(2).
    sync_file_range(fd: c_int, offset: off_t, length: off_t, flags: c_uint) = SYS_sync_file_range;
}

/// See write(2).
///
/// # Safety
/// That of the system call.
// SAFETY: the name and the type are libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, length: size_t) -> ssize_t {
    if dies(|| is_open_below(fd)) {
        // SAFETY: the caller's word for `length` bytes holds for fewer, too.
        unsafe { libc::syscall(libc::SYS_write, fd, bytes, length / 2) };
        die();
    }
    match room(fd, length) {
        0 if length > 0 => fails::<i32>(libc::ENOSPC) as ssize_t,
        // SAFETY: the caller's word for `length` bytes holds for fewer, too.
        room => unsafe { libc::syscall(libc::SYS_write, fd, bytes, room) as ssize_t },
    }
}

macro_rules! positioned {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// That of the system call.
        // SAFETY: the name and the type are libc's; on 64-bit systems both offsets are of one type.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(fd: c_int, bytes: *const c_void, length: size_t, offset: off_t) -> ssize_t {
            if dies(|| is_open_below(fd)) {
                // SAFETY: the caller's word for `length` bytes holds for fewer, too.
                unsafe { libc::syscall(libc::SYS_pwrite64, fd, bytes, length / 2, offset) };
                die();
            }
            match room(fd, length) {
                0 if length > 0 => fails::<i32>(libc::ENOSPC) as ssize_t,
                // SAFETY: the caller's word for `length` bytes holds for fewer, too.
                room => unsafe { libc::syscall(libc::SYS_pwrite64, fd, bytes, room, offset) as ssize_t },
            }
        }
    )*};
}

positioned! {
    /// See pwrite(2).
    pwrite;
    /// See pwrite(2).
    pwrite64;
}

/// Writes the first half of the bytes of `buffers`.
///
/// # Safety
/// `buffers` points to `count` buffers.
unsafe fn write_half(fd: c_int, buffers: *const iovec, count: c_int) {
    let Ok(count) = usize::try_from(count) else { return };
    // SAFETY: the caller's word.
    let buffers = unsafe { std::slice::from_raw_parts(buffers, count) };
    let mut left = buffers.iter().map(|buffer| buffer.iov_len).sum::<usize>() / 2;
    for buffer in buffers {
        let length = buffer.iov_len.min(left);
        // SAFETY: each buffer is as long as it says.
        unsafe { libc::syscall(libc::SYS_write, fd, buffer.iov_base, length) };
        left -= length;
    }
}

/// See writev(2).
///
/// # Safety
/// That of the system call.
// SAFETY: the name and the type are libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, buffers: *const iovec, count: c_int) -> ssize_t {
    if dies(|| is_open_below(fd)) {
        // SAFETY: the caller's word.
        unsafe { write_half(fd, buffers, count) };
        die();
    }
    // SAFETY: the caller's word.
    if !unsafe { room_for_all(fd, buffers, count) } {
        return fails::<i32>(libc::ENOSPC) as ssize_t;
    }
    // SAFETY: the caller's word.
    unsafe { libc::syscall(libc::SYS_writev, fd, buffers, c_long::from(count)) as ssize_t }
}

macro_rules! positioned_vectors {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// That of the system call.
        // SAFETY: the name and the type are libc's; on 64-bit systems both offsets are of one type.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(fd: c_int, buffers: *const iovec, count: c_int, offset: off_t) -> ssize_t {
            if dies(|| is_open_below(fd)) {
                die();
            }
            // SAFETY: the caller's word.
            if !unsafe { room_for_all(fd, buffers, count) } {
                return fails::<i32>(libc::ENOSPC) as ssize_t;
            }
            // The system call takes the offset in two halves, of which a 64-bit one fills the first.
            // SAFETY: the caller's word.
            unsafe { libc::syscall(libc::SYS_pwritev, fd, buffers, c_long::from(count), offset, 0) as ssize_t }
        }
    )*};
}

positioned_vectors! {
    /// See pwritev(2).
    pwritev;
    /// See pwritev(2).
    pwritev64;
}

/// See fallocate(2). What it reserves is not taken from the room: writing it is.
// SAFETY: the name and the type are libc's.
#[unsafe(no_mangle)]
pub extern "C" fn fallocate(fd: c_int, mode: c_int, offset: off_t, length: off_t) -> c_int {
    if control().is_some_and(|control| (0..length).contains(&control.space_left.load(Ordering::Relaxed))) {
        return fails(libc::ENOSPC);
    }
    // SAFETY: this system call takes numbers only.
    unsafe { libc::syscall(libc::SYS_fallocate, fd, mode, offset, length) as c_int }
}

/// See clock_gettime(2).
///
/// # Safety
/// That of the system call.
// SAFETY: the name and the type are libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's word.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int };
    if result == 0 && matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI) {
        let offset = control().map_or(0, Control::offset_ms);
        // SAFETY: the system has just written there.
        let time = unsafe { &mut *time };
        let nanos = time.tv_nsec + (offset % 1_000) * 1_000_000;
        time.tv_sec += offset / 1_000 + nanos.div_euclid(1_000_000_000);
        time.tv_nsec = nanos.rem_euclid(1_000_000_000);
    }
    result
}

fn time_of_day() -> timespec {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: there is room for the answer.
    unsafe { clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    now
}

/// See gettimeofday(2). The zone is left as it is.
///
/// # Safety
/// `now` is null or points to a time.
// SAFETY: the name and the type are libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(now: *mut timeval, _zone: *mut c_void) -> c_int {
    let timespec { tv_sec, tv_nsec } = time_of_day();
    if !now.is_null() {
        // SAFETY: the caller's word.
        unsafe { now.write(timeval { tv_sec, tv_usec: tv_nsec / 1_000 }) };
    }
    0
}

/// See time(2).
///
/// # Safety
/// `now` is null or points to a time.
// SAFETY: the name and the type are libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn time(now: *mut time_t) -> time_t {
    let seconds = time_of_day().tv_sec;
    if !now.is_null() {
        // SAFETY: the caller's word.
        unsafe { now.write(seconds) };
    }
    seconds
}
