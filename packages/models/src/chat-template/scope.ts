import { countItems } from './bounds.js';
import type { Value } from './values.js';

/** Variables of a block, a loop iteration or a macro, within those of the surrounding scope. */
export class Scope {
  private readonly variables = new Map<string, Value>();

  constructor(private readonly parent: Scope | null = null) {}

  get(name: string): Value | undefined {
    let depth = 0;
    for (let scope: Scope | null = this; scope !== null; scope = scope.parent) {
      const value = scope.variables.get(name);
      if (value !== undefined) return value;
      if (++depth > 8) countItems(1);
    }
    return undefined;
  }

  set(name: string, value: Value): void {
    this.variables.set(name, value);
  }
}
