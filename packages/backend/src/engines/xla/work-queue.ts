import { totalmem } from 'node:os';
import { WhetstoneError } from '@whetstone/core/contract';
import { gigabytes, memoryHint } from '../out-of-memory.js';
import type { XlaClient } from './client.js';
import type { DeviceTensor, DeviceTensors } from './device-tensors.js';
import { runStages, type StagesRun } from './run-stages.js';
import type { Variant, Variants } from './variants.js';
import { toError } from '@whetstone/core/util';

/** One run of a program: waits in the queue until its modules are compiled. */
export interface Work extends StagesRun {
  readonly variant: Variant;
}

interface Queued extends Work {
  done: boolean;
  readonly waiting: (() => void)[];
}

/** Runs this large are refused where the machine cannot hold them. Smaller ones are not worth the question. */
const WORTH_ASKING = 2 ** 28;

/**
 * Runs modules in the order in which they were handed in. A module that is not compiled yet is compiled on another
 * thread, once the event loop comes round, and what was handed in later waits behind it; somebody who cannot wait (a
 * synchronous read) has it compiled at once.
 */
export class WorkQueue {
  private readonly queue: Queued[] = [];
  private pumping = false;

  constructor(
    private readonly client: XlaClient,
    private readonly tensors: DeviceTensors,
    private readonly variants: Variants,
  ) {}

  add(work: Work): void {
    const queued: Queued = { ...work, done: false, waiting: [] };
    for (const input of work.inputs) input.uses++;
    for (const output of work.outputs) output.maker = queued;
    work.variant.uses++;
    if (this.queue.length === 0 && work.variant.loaded && this.client.hasRoom(work.variant.stages.length))
      return this.hand(queued);
    this.queue.push(queued);
    this.pump();
  }

  /** Makes sure that a tensor is made or being made by a device. */
  ensure(tensor: DeviceTensor): void {
    while (tensor.maker !== null) this.next();
    if (tensor.failure !== null) throw tensor.failure;
  }

  /** The same without blocking the event loop. */
  async ensureLater(tensor: DeviceTensor): Promise<void> {
    await this.waitFor(tensor.maker);
    if (tensor.failure !== null) throw tensor.failure;
  }

  /** Hands over everything. */
  drain(): void {
    while (this.queue.length > 0) this.next();
  }

  async drainLater(): Promise<void> {
    await this.waitFor(this.queue.at(-1) ?? null);
  }

  private async waitFor(maker: object | null): Promise<void> {
    const queued = maker as Queued | null;
    if (queued === null || queued.done) return;
    await new Promise<void>((resolve) => queued.waiting.push(resolve));
  }

  /** Hands over the first in the queue, compiled on this thread. */
  private next(): void {
    const first = this.queue.shift();
    if (first !== undefined) this.hand(first);
  }

  private pump(): void {
    if (this.pumping) return;
    this.pumping = true;
    setImmediate(() => void this.work());
  }

  private async work(): Promise<void> {
    for (let first = this.queue[0]; first !== undefined; first = this.queue[0]) {
      let problem: unknown = null;
      try {
        await this.variants.loadLater(first.variant);
        await this.client.roomLater(first.variant.stages.length);
      } catch (error) {
        problem = error;
      }
      // Somebody who could not wait may have handed it over meanwhile.
      if (this.queue[0] !== first) continue;
      this.queue.shift();
      this.hand(first, problem);
    }
    this.pumping = false;
  }

  /** Gives a run to the device. What goes wrong is told where a result is read. */
  private hand(queued: Queued, problem: unknown = null): void {
    try {
      if (problem !== null) throw problem;
      const failed = queued.inputs.find((input) => input.failure !== null);
      if (failed?.failure) throw failed.failure;
      this.run(queued);
    } catch (error) {
      for (const output of queued.outputs) output.failure = toError(error);
    }
    queued.done = true;
    for (const output of queued.outputs) output.maker = null;
    for (const input of queued.inputs) this.tensors.used(input);
    for (const output of queued.outputs) this.tensors.freeIfDone(output);
    this.variants.used(queued.variant);
    for (const resolve of queued.waiting) resolve();
  }

  private run({ variant, ...run }: Work): void {
    this.variants.load(variant);
    this.refuseTooLarge(variant, run.subject);
    runStages(this.client, this.tensors, variant, run);
  }

  /** A CPU's plugin takes what it is promised until the system ends the process. */
  private refuseTooLarge({ bytes }: Variant, subject: string): void {
    if (this.client.platform !== 'cpu' || bytes < WORTH_ASKING || bytes <= totalmem()) return;
    throw new WhetstoneError(
      'OUT_OF_MEMORY',
      `${subject} needs ${gigabytes(bytes)} besides its inputs; this machine has ${gigabytes(totalmem())}.`,
      {
        hint: memoryHint,
        details: { bytes, totalBytes: totalmem() },
      },
    );
  }
}
