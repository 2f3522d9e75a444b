export async function benchSft(): Promise<void> {}
