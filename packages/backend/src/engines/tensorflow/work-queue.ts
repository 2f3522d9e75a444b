import type { EngineTensor } from '../engine.js';
import type { CompiledFunction } from './compiled-function.js';
import type { Flight } from './flight.js';
import type { Handles } from './handles.js';
import type { Pointer } from './library.js';
import type { RunLog } from './run-log.js';

/** What is handed to TensorFlow: a function, or a program op by op. */
export type Work = {
  readonly inputs: readonly EngineTensor[];
  readonly results: number;
  /** Hands it over. */
  run(inputs: readonly Pointer[]): Pointer[];
} & (
  | { readonly compiled: null }
  | {
      readonly compiled: CompiledFunction;
      /**
       * Hands it over on another thread: a function that never ran is prepared then, for longer than it took to build.
       */
      runLater(inputs: readonly Pointer[]): Flight;
    }
);

type Queued = Work & {
  readonly outputs: readonly EngineTensor[];
  readonly waiting: (() => void)[];
  flight: Flight | null;
  done: boolean;
};

/** Milliseconds of building after which the event loop comes round. */
const SLICE = 4;
/** Work that may wait for the event loop: more is not held for a program that never lets it come round. */
const MOST_WAITING = 16;

const eventLoop = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });

/**
 * Hands work to TensorFlow in the order in which it came. A function that is still to be built is built in slices
 * between which the event loop comes round, its first run is handed over on another thread, and what came later waits
 * behind it; somebody who cannot wait (a synchronous read) has it done at once.
 */
export class WorkQueue {
  private readonly queue: Queued[] = [];
  private pumping = false;

  constructor(
    private readonly handles: Handles,
    private readonly log: RunLog,
  ) {}

  /** Hands work over, or promises its results. */
  add(work: Work): EngineTensor[] {
    if (this.queue.length === 0 && work.compiled?.warm !== false)
      return work.run(work.inputs.map((input) => this.handles.handle(input)));
    const outputs = Array.from({ length: work.results }, () => this.handles.promise());
    for (const input of work.inputs) this.handles.use(input);
    work.compiled?.use();
    this.queue.push({ ...work, outputs, waiting: [], flight: null, done: false });
    while (this.queue.length > MOST_WAITING) this.next();
    this.pump();
    return outputs;
  }

  /** Makes sure that a tensor is handed over. */
  ensure(tensor: EngineTensor): void {
    while (this.handles.isPending(tensor)) this.next();
  }

  /** The same without blocking the event loop. */
  async ensureLater(tensor: EngineTensor): Promise<void> {
    if (this.handles.isPending(tensor)) await this.waitFor(this.queue.find(({ outputs }) => outputs.includes(tensor)));
  }

  /** Hands over everything. */
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

  /** Hands over the first in the queue on this thread, or waits for the other one. */
  private next(): void {
    const [first] = this.queue;
    if (first === undefined) return;
    this.finish(first, () => {
      if (first.flight !== null) return first.flight.wait();
      first.compiled?.make(Infinity);
      return first.run(this.handlesOf(first));
    });
  }

  private pump(): void {
    if (this.pumping) return;
    this.pumping = true;
    setImmediate(() => void this.work());
  }

  private async work(): Promise<void> {
    let lastTurn = performance.now();
    for (let [first] = this.queue; first !== undefined; [first] = this.queue) {
      await this.handOver(first);
      if (performance.now() - lastTurn < SLICE) continue;
      await eventLoop();
      lastTurn = performance.now();
    }
    this.pumping = false;
  }

  /** Hands over the first in the queue beside the event loop. Somebody who could not wait may do it meanwhile. */
  private async handOver(first: Queued): Promise<void> {
    if (first.compiled === null || first.compiled.warm) return this.next();
    try {
      while (!first.done && !first.compiled.make(SLICE)) await eventLoop();
      if (first.done) return;
      await eventLoop();
      if (first.done) return;
      first.flight = first.runLater(this.handlesOf(first));
    } catch (error) {
      return this.finish(first, () => {
        throw error;
      });
    }
    const { flight } = first;
    await flight.landed;
    if (!first.done) this.finish(first, () => flight.wait());
  }

  private handlesOf({ inputs }: Queued): Pointer[] {
    return inputs.map((input) => this.handles.handle(input));
  }

  /** Keeps the promises of work, or breaks them: what goes wrong is told where a result is read. */
  private finish(queued: Queued, handOver: () => Pointer[]): void {
    try {
      const made = handOver();
      if (queued.compiled !== null) queued.compiled.warm = true;
      queued.outputs.forEach((output, position) => this.handles.keep(output, made[position] ?? 0n));
    } catch (error) {
      const failure = this.log.named(error);
      for (const output of queued.outputs) this.handles.break(output, failure);
    }
    queued.done = true;
    this.queue.shift();
    for (const input of queued.inputs) this.handles.used(input);
    queued.compiled?.used();
    for (const resolve of queued.waiting) resolve();
  }
}
