import type { EngineTensor } from '../engine.js';
import type { AsyncExecution } from './async-execution.js';
import type { Handles } from './handles.js';
import type { Pointer } from './library.js';
import type { RunLog } from './run-log.js';

/** What must be prepared before work is submitted for the first time. */
interface Preparation {
  /** Whether it was submitted before. */
  warm: boolean;
  /** Prepares for at most `milliseconds`. Returns whether it is done. */
  build(milliseconds: number): boolean;
  use(): void;
  endUse(): void;
}

/** One submission to TensorFlow: a function, or a program op by op. */
export type Work = {
  readonly inputs: readonly EngineTensor[];
  /** Number of results. */
  readonly results: number;
  /** Submits the work and returns the handles of the results. */
  run(inputs: readonly Pointer[]): Pointer[];
} & (
  | { readonly compiled: null }
  | {
      readonly compiled: Preparation;
      /**
       * Submits the work on another thread. TensorFlow prepares a function in its first run, which takes longer than
       * building it.
       */
      runLater(inputs: readonly Pointer[]): AsyncExecution;
    }
);

type Queued = Work & {
  readonly outputs: readonly EngineTensor[];
  readonly waiting: (() => void)[];
  execution: AsyncExecution | null;
  done: boolean;
};

/** Milliseconds of work after which the event loop runs. */
const SLICE = 4;
/** Longest queue. Beyond it, work is submitted at once: a program that never yields must not fill the memory. */
const MAX_QUEUED = 16;

const eventLoop = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });

/**
 * Submits work to TensorFlow in order of arrival. A new function is built in time slices, between which the event loop
 * runs, and its first run is submitted on another thread. Later work waits. A synchronous read does not: the queue up
 * to its tensor is then submitted at once.
 */
export class WorkQueue {
  private readonly queue: Queued[] = [];
  private pumping = false;

  constructor(
    private readonly handles: Handles,
    private readonly log: RunLog,
  ) {}

  /** Submits or queues work and returns its results, which may be pending. */
  add(work: Work): EngineTensor[] {
    if (this.queue.length === 0 && work.compiled?.warm !== false)
      return work.run(work.inputs.map((input) => this.handles.handle(input)));
    const outputs = Array.from({ length: work.results }, () => this.handles.promise());
    for (const input of work.inputs) this.handles.use(input);
    work.compiled?.use();
    this.queue.push({ ...work, outputs, waiting: [], execution: null, done: false });
    while (this.queue.length > MAX_QUEUED) this.next();
    this.pump();
    return outputs;
  }

  /** Submits the queue up to the work that computes the tensor. */
  ensure(tensor: EngineTensor): void {
    while (this.handles.isPending(tensor)) this.next();
  }

  /** Like `ensure`, without blocking the event loop. */
  async ensureLater(tensor: EngineTensor): Promise<void> {
    if (this.handles.isPending(tensor)) await this.waitFor(this.queue.find(({ outputs }) => outputs.includes(tensor)));
  }

  /** Submits all queued work. */
  drain(): void {
    while (this.queue.length > 0) this.next();
  }

  async drainLater(): Promise<void> {
    await this.waitFor(this.queue.at(-1));
  }

  private async waitFor(queued: Queued | undefined): Promise<void> {
    if (queued === undefined || queued.done) return;
    await new Promise<void>((resolve) => queued.waiting.push(resolve));
  }

  /** Submits the first work in the queue on this thread, or waits for the thread that submits it. */
  private next(): void {
    const [first] = this.queue;
    if (first === undefined) return;
    this.finish(first, () => {
      if (first.execution !== null) return first.execution.wait();
      first.compiled?.build(Infinity);
      return first.run(this.handlesOf(first));
    });
  }

  private pump(): void {
    if (this.pumping) return;
    this.pumping = true;
    setImmediate(() => void this.work());
  }

  private async work(): Promise<void> {
    let lastYield = performance.now();
    for (let [first] = this.queue; first !== undefined; [first] = this.queue) {
      await this.submit(first);
      if (performance.now() - lastYield < SLICE) continue;
      await eventLoop();
      lastYield = performance.now();
    }
    this.pumping = false;
  }

  /** Submits the first work in the queue without blocking the event loop. A synchronous read may do it meanwhile. */
  private async submit(first: Queued): Promise<void> {
    if (first.compiled === null || first.compiled.warm) return this.next();
    try {
      while (!first.done && !first.compiled.build(SLICE)) await eventLoop();
      if (first.done) return;
      await eventLoop();
      if (first.done) return;
      first.execution = first.runLater(this.handlesOf(first));
    } catch (error) {
      return this.finish(first, () => {
        throw error;
      });
    }
    const { execution } = first;
    await execution.submitted;
    if (!first.done) this.finish(first, () => execution.wait());
  }

  private handlesOf({ inputs }: Queued): Pointer[] {
    return inputs.map((input) => this.handles.handle(input));
  }

  /** Resolves the results of the first work, or rejects them. An error is thrown when a result is read. */
  private finish(queued: Queued, submit: () => Pointer[]): void {
    try {
      const results = submit();
      if (queued.compiled !== null) queued.compiled.warm = true;
      queued.outputs.forEach((output, position) => this.handles.resolve(output, results[position] ?? 0n));
    } catch (error) {
      const failure = this.log.withOperation(error);
      for (const output of queued.outputs) this.handles.reject(output, failure);
    }
    queued.done = true;
    this.queue.shift();
    for (const input of queued.inputs) this.handles.endUse(input);
    queued.compiled?.endUse();
    for (const resolve of queued.waiting) resolve();
  }
}
