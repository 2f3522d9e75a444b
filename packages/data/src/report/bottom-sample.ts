/** The values with the smallest priorities. If priorities are distinct, the sample does not depend on the order. */
export interface BottomSample<T> {
  add(priority: number, value: T): void;
  /** Only values with a priority below this limit can still enter the sample. */
  readonly below: number;
  /** Returns the sample, sorted by priority. */
  sample(): readonly Prioritized<T>[];
}

export interface Prioritized<T> {
  readonly priority: number;
  readonly value: T;
}

export function createBottomSample<T>(size: number): BottomSample<T> {
  let candidates: Prioritized<T>[] = [];
  let below = size === 0 ? -Infinity : Infinity;
  const trim = (): void => {
    candidates = candidates.sort((a, b) => a.priority - b.priority).slice(0, size);
    if (candidates.length === size) below = candidates.at(-1)?.priority ?? below;
  };
  return {
    add(priority, value) {
      if (priority >= below) return;
      candidates.push({ priority, value });
      if (candidates.length >= Math.max(2 * size, 64)) trim();
    },
    get below() {
      return below;
    },
    sample() {
      trim();
      return candidates;
    },
  };
}
