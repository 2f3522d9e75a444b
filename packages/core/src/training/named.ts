/** An instance and the plugin that made it, for errors and checkpoints to name. */
export interface Named<T> {
  readonly plugin: string;
  readonly instance: T;
}
