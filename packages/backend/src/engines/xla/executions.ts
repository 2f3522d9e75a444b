import { destroy, finish, finishLater, isReady, type Event } from './events.js';
import type { Pjrt, Pointer } from './pjrt.js';

/** An execution that may still be running, and the handles of the buffers that were donated to it. */
export interface Execution {
  readonly event: Event;
  readonly donated: readonly Pointer[];
}

/** XLA's CPU client allows 32 executions in flight. */
const MAX_IN_FLIGHT = 30;

/**
 * The executions of a client that may still be running, in order. Donated buffers are released after the execution:
 * an earlier release would wait for it.
 */
export class Executions {
  private running: Execution[] = [];

  constructor(
    private readonly pjrt: Pjrt,
    private readonly release: (buffer: Pointer) => void,
  ) {}

  add(executions: readonly Execution[]): void {
    this.sweep();
    this.running.push(...executions);
  }

  /** Waits until all executions are done. Errors are thrown when results are read. */
  wait(): void {
    for (const { event, donated } of this.running.splice(0)) {
      try {
        finish(this.pjrt, event);
      } catch {
        // Thrown when a result is read.
      }
      this.releaseAll(donated);
    }
  }

  /**
   * Like `wait`, without blocking the event loop.
   *
   * @throws the first error
   */
  async waitLater(): Promise<void> {
    const failures: unknown[] = [];
    for (const { event, donated } of this.running.splice(0)) {
      await finishLater(this.pjrt, event).catch((error: unknown) => failures.push(error));
      this.releaseAll(donated);
    }
    if (failures.length > 0) throw failures[0];
  }

  /** Returns whether `executions` more can be queued. Beyond its limit, a CPU plugin blocks the caller. */
  hasRoom(executions: number): boolean {
    this.sweep();
    return this.running.length < 2 || this.running.length + executions <= MAX_IN_FLIGHT;
  }

  /** Waits without blocking the event loop until `executions` more can be queued. */
  async roomLater(executions: number): Promise<void> {
    while (!this.hasRoom(executions)) {
      const oldest = this.running.shift();
      if (oldest === undefined) return;
      // Errors are thrown when results are read.
      await finishLater(this.pjrt, oldest.event).catch(() => undefined);
      this.releaseAll(oldest.donated);
    }
  }

  /** Removes completed executions. */
  private sweep(): void {
    for (let [first] = this.running; first !== undefined && isReady(this.pjrt, first.event); [first] = this.running) {
      destroy(this.pjrt, first.event);
      this.releaseAll(first.donated);
      this.running.shift();
    }
  }

  private releaseAll(buffers: readonly Pointer[]): void {
    for (const buffer of buffers) this.release(buffer);
  }
}
