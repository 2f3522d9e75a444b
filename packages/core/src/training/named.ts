/** An instance and the name of the plugin that created it, for errors and checkpoints. */
export interface Named<T> {
  readonly plugin: string;
  readonly instance: T;
}
