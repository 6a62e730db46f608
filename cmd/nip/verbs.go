package main

import "github.com/spf13/cobra"

// verbs returns all verbs in the order in which help lists them.
func verbs(a *app) []*cobra.Command {
	return []*cobra.Command{
		newRunCommand(a),
		newGraftCommand(a),
		newPackCommand(a),
		newInstallCommand(a),
		newListCommand(a),
		newInfoCommand(a),
		newRollbackCommand(a),
		newRemoveCommand(a),
		newGCCommand(a),
		newVerifyCommand(a),
		newPolicyCommand(a),
		newKeyCommand(a),
		newLedgerCommand(a),
		newPsCommand(a),
		newTopCommand(a),
		newBudgetCommand(a),
		newMetricsCommand(a),
		newRingCommand(a),
		newStopCommand(a),
		newLogsCommand(a),
		newDoctorCommand(a),
		newEnvCommand(a),
		newVersionCommand(a),
		newCompletionCommand(a),
		newDocsCommand(a),
	}
}
