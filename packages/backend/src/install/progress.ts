/** Progress of an installation. */
export interface InstallProgress {
  readonly stage: 'download' | 'verify' | 'unpack';
  /** Name and version, such as `tensorflow-cpu 2.21.0`. */
  readonly subject: string;
  readonly doneBytes: number;
  /** Null if the size is not known in advance. */
  readonly totalBytes: number | null;
}

/** Options of a download. */
export interface InstallOptions {
  /** Called repeatedly during the installation. */
  readonly onProgress?: (progress: InstallProgress) => void;
  /** Called with a sentence for the user at each event: for example, when a file is reused. */
  readonly onMessage?: (message: string) => void;
  readonly signal?: AbortSignal | undefined;
  /** Folder for downloads and installations; by default `cacheFolder()`. */
  readonly cache?: string;
}
