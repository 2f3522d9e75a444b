/**
 * The parts of a package that depend on the kind of its plugin. Texts are TypeScript; what is between `«` and `»` is
 * left out in JavaScript.
 */
export interface Template {
  /** What the plugin does, in one sentence. */
  readonly description: string;
  /** Returns the module of the plugin, whose default export it is. */
  source(plugin: { readonly name: string; readonly description: string }): string;
  /** Returns the tests of the plugin, next to its module. */
  test(): string;
  /** Returns the keys of a configuration that use the plugin. */
  configuration(use: string): object;
}
