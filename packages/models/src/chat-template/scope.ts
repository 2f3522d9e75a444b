import type { Value } from './values.js';

/** Variables of a block, a loop iteration or a macro, within those of the surrounding scope. */
export class Scope {
  private readonly variables = new Map<string, Value>();

  constructor(private readonly parent: Scope | null = null) {}

  get(name: string): Value | undefined {
    return this.variables.get(name) ?? this.parent?.get(name);
  }

  set(name: string, value: Value): void {
    this.variables.set(name, value);
  }
}
