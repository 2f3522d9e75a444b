import { finish, finishLater, forget, isReady, type Event } from './events.js';
import type { Pjrt, Pointer } from './pjrt.js';

/** An execution that may still be at work, and the handles of buffers that it was given for good. */
export interface Execution {
  readonly event: Event;
  readonly donated: readonly Pointer[];
}

/** XLA's CPU client lets 32 executions be in flight. */
const MOST_IN_FLIGHT = 30;

/**
 * The executions of a client that may still be at work, in their order. What was donated to one is released when it is
 * done: released sooner, that would wait for it.
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

  /** Waits until everything queued is done. Failures are told where results are read. */
  wait(): void {
    for (const { event, donated } of this.running.splice(0)) {
      try {
        finish(this.pjrt, event);
      } catch {
        // As said.
      }
      this.releaseAll(donated);
    }
  }

  async waitLater(): Promise<void> {
    const failures: unknown[] = [];
    for (const { event, donated } of this.running.splice(0)) {
      await finishLater(this.pjrt, event).catch((error: unknown) => failures.push(error));
      this.releaseAll(donated);
    }
    if (failures.length > 0) throw failures[0];
  }

  /** Whether so many more can be queued at once: beyond what is allowed in flight, a CPU's plugin blocks who queues. */
  hasRoom(executions: number): boolean {
    this.sweep();
    return this.running.length < 2 || this.running.length + executions <= MOST_IN_FLIGHT;
  }

  /** Waits on another thread until there is room. */
  async roomLater(executions: number): Promise<void> {
    while (!this.hasRoom(executions)) {
      const oldest = this.running.shift();
      if (oldest === undefined) return;
      // Failures are told where results are read.
      await finishLater(this.pjrt, oldest.event).catch(() => undefined);
      this.releaseAll(oldest.donated);
    }
  }

  /** Forgets those that are done. */
  private sweep(): void {
    for (let [first] = this.running; first !== undefined && isReady(this.pjrt, first.event); [first] = this.running) {
      forget(this.pjrt, first.event);
      this.releaseAll(first.donated);
      this.running.shift();
    }
  }

  private releaseAll(buffers: readonly Pointer[]): void {
    for (const buffer of buffers) this.release(buffer);
  }
}
