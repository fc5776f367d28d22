/** Requests of which each replaces the one before: they go out in turn, and only the last one's answer counts. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  get isUnderWay(): boolean {
    return this.#waiting > 0;
  }

  /**
   * Send a request when those before it have been answered.
   *
   * @param done is told how it ended, unless another one has been asked for meanwhile.
   */
  async take<Answer>(
    send: () => Promise<Answer>,
    done: { answered: (answer: Answer) => void; failed: () => void },
  ): Promise<void> {
    this.#waiting += 1;
    const turn = this.#last.then(send, send);
    this.#last = turn;
    try {
      const answer = await turn;
      this.#waiting -= 1;
      if (!this.isUnderWay) done.answered(answer);
    } catch (error) {
      this.#waiting -= 1;
      if (!this.isUnderWay) done.failed();
      throw error;
    }
  }
}
