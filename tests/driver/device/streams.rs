//! Streams, events and graphs: what is done when.

use super::{
    CAPTURE_UNSUPPORTED, Device, Fails, ILLEGAL_ADDRESS, INVALID_HANDLE, INVALID_VALUE, LAUNCH_FAILED,
};
use crate::work::{Host, Work};
use cudarc::driver::sys::CUresult;
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Instant;

#[derive(Default)]
pub struct Stream {
    pub queue: VecDeque<Work>,
    /// How many things it has done, and been given.
    done: u64,
    given: u64,
    pub capture: Option<Capture>,
}

/// A graph that a thread is making.
pub struct Capture {
    pub thread: ThreadId,
    nodes: Vec<Work>,
}

#[derive(Default)]
pub struct Event {
    /// The stream it was last recorded in, and how many things that will have done then.
    at: Option<(u64, u64)>,
    time: Option<Instant>,
    timed: bool,
}

impl Device {
    pub fn new_stream(&mut self) -> u64 {
        let handle = self.handle();
        self.streams.insert(handle, Stream::default());
        handle
    }

    fn stream(&mut self, stream: u64) -> Fails<&mut Stream> {
        self.streams.get_mut(&stream).ok_or(INVALID_HANDLE)
    }

    pub fn destroy_stream(&mut self, stream: u64) -> Fails {
        self.finish(stream)?;
        self.streams.remove(&stream);
        Ok(())
    }

    /// Puts work into a stream, or into the graph it captures.
    pub fn queue(&mut self, stream: u64, work: Work) -> Fails {
        self.say(format_args!("{stream} {}", work.name()));
        let to = self.stream(stream)?;
        match (&mut to.capture, &work) {
            (Some(_), Work::Wait { .. } | Work::Record(_)) => return Err(CAPTURE_UNSUPPORTED),
            (Some(capture), _) => capture.nodes.push(work),
            (None, _) => {
                to.queue.push_back(work);
                to.given += 1;
                self.play()?;
            }
        }
        Ok(())
    }

    /// Runs some of what waits, as a GPU might.
    pub fn play(&mut self) -> Fails {
        if self.seed == 0 {
            return Ok(());
        }
        if self.seed == 1 {
            return self.finish_all();
        }
        let streams: Vec<u64> = self.streams.keys().copied().collect();
        for stream in streams {
            let some = self.random.below(4);
            for _ in 0..some {
                let ready = match self.streams[&stream].queue.front() {
                    None => false,
                    Some(&Work::Wait { stream, done }) => self.has_done(stream, done),
                    Some(_) => true,
                };
                if ready {
                    self.next(stream)?;
                }
            }
        }
        Ok(())
    }

    /// A stream that is gone had finished.
    fn has_done(&self, stream: u64, done: u64) -> bool {
        self.streams.get(&stream).is_none_or(|s| s.done >= done)
    }

    fn next(&mut self, stream: u64) -> Fails {
        let Some(work) = self.stream(stream)?.queue.pop_front() else { return Ok(()) };
        if let Err(why) = self.run(work) {
            self.broken = Some(why);
            return Err(why);
        }
        self.stream(stream)?.done += 1;
        Ok(())
    }

    fn finish_until(&mut self, stream: u64, done: u64) -> Fails {
        while !self.has_done(stream, done) {
            self.next(stream)?;
        }
        Ok(())
    }

    /// Waits for everything in a stream.
    pub fn finish(&mut self, stream: u64) -> Fails {
        self.outside_of_capture()?;
        let given = self.stream(stream)?.given;
        self.say(format_args!("{stream} synchronize"));
        self.finish_until(stream, given)
    }

    pub fn finish_all(&mut self) -> Fails {
        let streams: Vec<(u64, u64)> = self.streams.iter().map(|(&id, s)| (id, s.given)).collect();
        streams.into_iter().try_for_each(|(id, given)| self.finish_until(id, given))
    }

    fn run(&mut self, work: Work) -> Fails {
        match work {
            Work::Launch { program, .. } if self.fault.as_ref() == Some(&program.name) => {
                return Err(ILLEGAL_ADDRESS);
            }
            Work::Launch { program, shape, arguments } => {
                let outcome = self.machine.run(&program, &shape, &arguments, &|_| {}).map_err(|e| {
                    eprintln!("driver: {e}");
                    LAUNCH_FAILED
                })?;
                if let Some(finding) = outcome.findings.first() {
                    eprintln!("driver: {} {:?} {:?}: {finding}", program.name, shape.grid, shape.block);
                    return Err(LAUNCH_FAILED);
                }
            }
            Work::ToDevice { to, from } => {
                let bytes = match from {
                    // SAFETY: of `pinned`, which is not freed while a copy waits.
                    Host::Pinned { at, len } => {
                        unsafe { std::slice::from_raw_parts(at as *const u8, len) }.to_vec()
                    }
                    Host::Taken(bytes) => bytes,
                };
                self.machine.write(to, &bytes).map_err(|_| ILLEGAL_ADDRESS)?;
            }
            Work::ToHost { to, from, len } => {
                let mut bytes = vec![0; len];
                self.machine.read(from, &mut bytes).map_err(|_| ILLEGAL_ADDRESS)?;
                // SAFETY: pinned memory, or memory of a call that waits.
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, len) };
            }
            Work::OnDevice { to, from, len } => {
                let mut bytes = vec![0; len];
                self.machine.read(from, &mut bytes).map_err(|_| ILLEGAL_ADDRESS)?;
                self.machine.write(to, &bytes).map_err(|_| ILLEGAL_ADDRESS)?;
            }
            Work::Fill { to, byte, len } => {
                self.machine.write(to, &vec![byte; len]).map_err(|_| ILLEGAL_ADDRESS)?;
            }
            Work::Graph(nodes) => nodes.iter().try_for_each(|work| self.run(work.clone()))?,
            Work::Record(event) => {
                if let Some(event) = self.events.get_mut(&event) {
                    event.time = Some(Instant::now());
                }
            }
            Work::Wait { stream, done } => self.finish_until(stream, done)?,
        }
        Ok(())
    }

    pub fn new_event(&mut self, timed: bool) -> u64 {
        let handle = self.handle();
        self.events.insert(handle, Event { timed, ..Event::default() });
        handle
    }

    pub fn destroy_event(&mut self, event: u64) -> Fails {
        self.events.remove(&event).map(drop).ok_or(INVALID_HANDLE)
    }

    pub fn record(&mut self, event: u64, stream: u64) -> Fails {
        let given = self.stream(stream)?.given;
        let of = self.events.get_mut(&event).ok_or(INVALID_HANDLE)?;
        *of = Event { at: Some((stream, given + 1)), time: None, timed: of.timed };
        self.queue(stream, Work::Record(event))
    }

    /// An event that was never recorded is not waited for.
    pub fn wait(&mut self, stream: u64, event: u64) -> Fails {
        match self.events.get(&event).ok_or(INVALID_HANDLE)?.at {
            Some((of, done)) => self.queue(stream, Work::Wait { stream: of, done }),
            None => Ok(()),
        }
    }

    pub fn finish_event(&mut self, event: u64) -> Fails {
        self.outside_of_capture()?;
        self.say(format_args!("event {event} synchronize"));
        match self.events.get(&event).ok_or(INVALID_HANDLE)?.at {
            Some((of, done)) => self.finish_until(of, done),
            None => Ok(()),
        }
    }

    pub fn elapsed(&self, from: u64, to: u64) -> Fails<f32> {
        let time = |event: u64| {
            let event = self.events.get(&event).filter(|event| event.timed).ok_or(INVALID_HANDLE)?;
            event.time.ok_or(CUresult::CUDA_ERROR_NOT_READY)
        };
        Ok(time(to)?.saturating_duration_since(time(from)?).as_secs_f32() * 1e3)
    }

    pub fn begin_capture(&mut self, stream: u64) -> Fails {
        self.outside_of_capture()?;
        let thread = std::thread::current().id();
        self.stream(stream)?.capture = Some(Capture { thread, nodes: Vec::new() });
        Ok(())
    }

    pub fn end_capture(&mut self, stream: u64) -> Fails<u64> {
        let Capture { nodes, .. } = self.stream(stream)?.capture.take().ok_or(INVALID_VALUE)?;
        let handle = self.handle();
        self.graphs.insert(handle, Arc::new(nodes));
        Ok(handle)
    }

    pub fn destroy_graph(&mut self, graph: u64) -> Fails {
        self.graphs.remove(&graph).map(drop).ok_or(INVALID_HANDLE)
    }

    pub fn instantiate(&mut self, graph: u64) -> Fails<u64> {
        let nodes = self.graphs.get(&graph).ok_or(INVALID_HANDLE)?.clone();
        let handle = self.handle();
        self.executables.insert(handle, nodes);
        Ok(handle)
    }

    pub fn launch_graph(&mut self, executable: u64, stream: u64) -> Fails {
        let nodes = self.executables.get(&executable).ok_or(INVALID_HANDLE)?.clone();
        self.queue(stream, Work::Graph(nodes))
    }

    pub fn destroy_executable(&mut self, executable: u64) -> Fails {
        self.executables.remove(&executable).map(drop).ok_or(INVALID_HANDLE)
    }
}
