import { totalmem } from 'node:os';
import { WhetstoneError } from '@whetstone/core/contract';
import { gigabytes, memoryHint } from '../out-of-memory.js';
import type { XlaClient } from './client.js';
import type { DeviceTensor, DeviceTensors } from './device-tensors.js';
import { runProgram, type ProgramRun } from './run-program.js';
import type { Variant, Variants } from './variants.js';
import { toError } from '@whetstone/core/util';

/** One run of a program. It waits in the queue until its modules are compiled. */
export interface Work extends ProgramRun {
  readonly variant: Variant;
}

interface Queued extends Work {
  done: boolean;
  readonly waiting: (() => void)[];
}

/** Runs from this size on are compared with the machine's memory. */
const MIN_CHECKED_BYTES = 2 ** 28;

/**
 * Runs programs in order of arrival. New modules are compiled on another thread, and later runs wait. A synchronous
 * read does not: the queue up to its tensor is then compiled and submitted at once.
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
    for (const output of work.outputs) output.producer = queued;
    work.variant.uses++;
    if (this.queue.length === 0 && work.variant.loaded && this.client.hasRoom(work.variant.segments.length))
      return this.submit(queued);
    this.queue.push(queued);
    this.pump();
  }

  /** Submits the queue up to the work that computes the tensor. */
  ensure(tensor: DeviceTensor): void {
    while (tensor.producer !== null) this.next();
    if (tensor.failure !== null) throw tensor.failure;
  }

  /** Like `ensure`, without blocking the event loop. */
  async ensureLater(tensor: DeviceTensor): Promise<void> {
    await this.waitFor(tensor.producer);
    if (tensor.failure !== null) throw tensor.failure;
  }

  /** Submits all queued work. */
  drain(): void {
    while (this.queue.length > 0) this.next();
  }

  async drainLater(): Promise<void> {
    await this.waitFor(this.queue.at(-1) ?? null);
  }

  private async waitFor(producer: object | null): Promise<void> {
    const queued = producer as Queued | null;
    if (queued === null || queued.done) return;
    await new Promise<void>((resolve) => queued.waiting.push(resolve));
  }

  /** Compiles the first work in the queue on this thread and submits it. */
  private next(): void {
    const first = this.queue.shift();
    if (first !== undefined) this.submit(first);
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
        await this.client.roomLater(first.variant.segments.length);
      } catch (error) {
        problem = error;
      }
      // A synchronous read may have submitted it meanwhile.
      if (this.queue[0] !== first) continue;
      this.queue.shift();
      this.submit(first, problem);
    }
    this.pumping = false;
  }

  /** Submits a run to the device. Errors are thrown when results are read. */
  private submit(queued: Queued, problem: unknown = null): void {
    try {
      if (problem !== null) throw problem;
      const failed = queued.inputs.find((input) => input.failure !== null);
      if (failed?.failure) throw failed.failure;
      this.run(queued);
    } catch (error) {
      for (const output of queued.outputs) output.failure = toError(error);
    }
    queued.done = true;
    for (const output of queued.outputs) output.producer = null;
    for (const input of queued.inputs) this.tensors.endUse(input);
    for (const output of queued.outputs) this.tensors.freeIfUnused(output);
    this.variants.endUse(queued.variant);
    for (const resolve of queued.waiting) resolve();
  }

  private run({ variant, ...run }: Work): void {
    this.variants.load(variant);
    this.refuseTooLarge(variant, run.subject);
    runProgram(this.client, this.tensors, variant, run);
  }

  /** Refuses a run that exceeds the machine's memory. A CPU plugin would allocate until the process is killed. */
  private refuseTooLarge({ bytes }: Variant, subject: string): void {
    if (this.client.platform !== 'cpu' || bytes < MIN_CHECKED_BYTES || bytes <= totalmem()) return;
    throw new WhetstoneError(
      'OUT_OF_MEMORY',
      `${subject} needs ${gigabytes(bytes)} in addition to its inputs; this machine has ${gigabytes(totalmem())}.`,
      {
        hint: memoryHint,
        details: { bytes, totalBytes: totalmem() },
      },
    );
  }
}
