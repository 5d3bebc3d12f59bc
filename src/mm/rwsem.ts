/** A sleeping lock with many readers or one writer (struct rw_semaphore). */
export class rw_semaphore {
  readers = 0;
  writer = false;
  /** As a lock of records; 0 until it is first taken. */
  id = 0;
}
