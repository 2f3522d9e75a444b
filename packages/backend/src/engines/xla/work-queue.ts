import { totalmem } from 'node:os';
import { WhetstoneError } from '@whetstone/core/contract';
import { gigabytes, memoryHint } from '../out-of-memory.js';
import type { XlaClient } from './client.js';
import type { DeviceTensor, DeviceTensors } from './device-tensors.js';
import type { Pointer } from './pjrt.js';
import type { Variant, Variants } from './variants.js';

/** One run of a module: waits in the queue until the module is compiled. */
export interface Work {
  readonly variant: Variant;
  readonly inputs: readonly DeviceTensor[];
  readonly outputs: readonly DeviceTensor[];
  /** Inputs that nobody will ask for again: results may take their memory. */
  readonly spent: ReadonlySet<number>;
  /** Where it runs: on one device, or alike on all. A module for several replicas runs on all, whatever this says. */
  readonly device: number | 'all';
  /** Begins the message where the run fails. */
  readonly subject: string;
}

interface Queued extends Work {
  done: boolean;
  readonly waiting: (() => void)[];
}

/** Runs this large are refused where the machine cannot hold them. Smaller ones are not worth the question. */
const WORTH_ASKING = 2 ** 28;

/**
 * Runs modules in the order in which they were handed in. A module that is not compiled yet is compiled on another thread, once the event loop
 * comes round, and what was handed in later waits behind it; somebody who cannot wait (a synchronous read) has it compiled at once.
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
    if (this.queue.length === 0 && work.variant.loaded !== null) return this.hand(queued);
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
      for (const output of queued.outputs) output.failure = error instanceof Error ? error : new Error(String(error));
    }
    queued.done = true;
    for (const output of queued.outputs) output.maker = null;
    for (const input of queued.inputs) this.tensors.used(input);
    for (const output of queued.outputs) this.tensors.freeIfDone(output);
    this.variants.used(queued.variant);
    for (const resolve of queued.waiting) resolve();
  }

  private run({ variant, inputs, outputs, spent, device, subject }: Work): void {
    const loaded = this.variants.load(variant);
    const { arguments: taken, replicas, shards, donated } = variant.module;
    this.refuseTooLarge(variant, subject);
    const tensorAt = (number: number): DeviceTensor => inputs[number] as DeviceTensor;
    // A result may take an input's memory only where nobody else waits for it: a read that is under way, or work queued behind.
    const isSpent = (number: number): boolean => (shards.get(number) ?? [number]).every((own) => spent.has(own) && tensorAt(own).uses === 1);
    const kept = taken.flatMap((number, position) => (donated.has(number) && !isSpent(number) ? [position] : []));
    const argumentsOn = (on: number): Pointer[] => taken.map((number) => this.tensors.bufferOn(tensorAt(shards.get(number)?.[on] ?? number), on));
    const devices = replicas > 1 || device === 'all' ? Array.from({ length: this.tensors.devices }, (_, on) => on) : [device];
    // Copies to all devices come first: an execution may take an input's memory, and then there is nothing left to copy.
    const given = devices.map(argumentsOn);
    // Replicas are one execution on all devices; what is to run alike on all is one execution each.
    const results = replicas > 1 ? this.client.execute(loaded, given, kept, subject) : devices.flatMap((on, index) => this.client.execute(loaded, [given[index] ?? []], kept, subject, this.tensors.devices > 1 ? on : null));
    outputs.forEach((output, position) => devices.forEach((on, index) => (output.buffers[on] = results[index]?.[position] ?? null)));
  }

  /** A CPU's plugin takes what it is promised until the system ends the process. */
  private refuseTooLarge({ memory, module }: Variant, subject: string): void {
    if (memory === null || this.client.platform !== 'cpu') return;
    const bytes = (memory.outputs + memory.temporaries) * module.replicas;
    if (bytes < WORTH_ASKING || bytes <= totalmem()) return;
    throw new WhetstoneError('OUT_OF_MEMORY', `${subject} needs ${gigabytes(bytes)} besides its inputs; this machine has ${gigabytes(totalmem())}.`, {
      hint: memoryHint,
      details: { bytes, totalBytes: totalmem() },
    });
  }
}
