/** Requests of which each replaces the one before: they go out in turn, and only the last one's answer counts. */
export class Turns<Answer> {
  #last: Promise<Answer | undefined> = Promise.resolve(undefined);
  #waiting = 0;

  get isUnderWay(): boolean {
    return this.#waiting > 0;
  }

  /**
   * Send a request when those before it have been answered.
   *
   * @param send is given the answer of the one before, unless that failed or there was none to wait for.
   * @param done is told how it ended, unless another one has been asked for meanwhile.
   */
  async take(
    send: (previous: Answer | undefined) => Promise<Answer>,
    done: { answered: (answer: Answer) => void; failed: () => void },
  ): Promise<Answer> {
    const before = this.isUnderWay ? this.#last : Promise.resolve(undefined);
    this.#waiting += 1;
    const turn = before.then(send, () => send(undefined));
    this.#last = turn;
    try {
      const answer = await turn;
      this.#waiting -= 1;
      if (!this.isUnderWay) done.answered(answer);
      return answer;
    } catch (error) {
      this.#waiting -= 1;
      if (!this.isUnderWay) done.failed();
      throw error;
    }
  }
}
