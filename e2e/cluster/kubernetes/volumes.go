package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// provisionerName is what the StorageClass names and what the PersistentVolume controller
// then writes on each claim that waits for us.
const provisionerName = "pg-rejoin.test/local"

const (
	provisionerOfClaim  = "volume.kubernetes.io/storage-provisioner"
	provisionerOfVolume = "pv.kubernetes.io/provisioned-by"
)

// provisioner gives every claim an empty directory of its own as a `local` volume (the
// kind that honours fsGroup, unlike hostPath) and removes it with the claim.
type provisioner struct {
	client    kubernetes.Interface
	node      string
	directory string
}

func newVolumeProvisionerCommand() *cobra.Command {
	var kubeconfig string
	p := &provisioner{}
	command := &cobra.Command{
		Use:          "volume-provisioner",
		Short:        "Serve PersistentVolumeClaims from directories of this node",
		SilenceUsage: true,
		RunE: func(command *cobra.Command, _ []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			if p.client, err = kubernetes.NewForConfig(config); err != nil {
				return err
			}
			p.run(command.Context())
			return nil
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	command.Flags().StringVar(&p.node, "node", "", "the node whose directories they are")
	command.Flags().StringVar(&p.directory, "directory", "", "where the volumes are made")
	return command
}

func (p *provisioner) run(ctx context.Context) {
	// The resync hands every object in again: a step that failed is tried again by it.
	factory := informers.NewSharedInformerFactory(p.client, 2*time.Second)
	handle := func(object any) {
		var err error
		switch object := object.(type) {
		case *core.PersistentVolumeClaim:
			err = p.provision(ctx, object)
		case *core.PersistentVolume:
			err = p.reclaim(ctx, object)
		}
		if err != nil {
			klog.ErrorS(err, "will try again")
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: handle, UpdateFunc: func(_, object any) { handle(object) }}
	factory.Core().V1().PersistentVolumeClaims().Informer().AddEventHandler(handler)
	factory.Core().V1().PersistentVolumes().Informer().AddEventHandler(handler)
	factory.Start(ctx.Done())
	<-ctx.Done()
}

func (p *provisioner) provision(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	if claim.Annotations[provisionerOfClaim] != provisionerName || claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil {
		return nil
	}
	// Named by the claim's uid: a claim that is seen twice gets one volume, a new claim of
	// the same name a new and empty one.
	name := "pvc-" + string(claim.UID)
	path := filepath.Join(p.directory, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	volume := &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{provisionerOfVolume: provisionerName}},
		Spec: core.PersistentVolumeSpec{
			Capacity:                      core.ResourceList{core.ResourceStorage: claim.Spec.Resources.Requests[core.ResourceStorage]},
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: core.PersistentVolumeReclaimDelete,
			StorageClassName:              *claim.Spec.StorageClassName,
			VolumeMode:                    claim.Spec.VolumeMode,
			PersistentVolumeSource:        core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: path}},
			ClaimRef: &core.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
				MatchExpressions: []core.NodeSelectorRequirement{{
					Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{p.node},
				}},
			}}}},
		},
	}
	_, err := p.client.CoreV1().PersistentVolumes().Create(ctx, volume, meta.CreateOptions{})
	if errors.IsAlreadyExists(err) {
		return nil
	}
	klog.InfoS("volume", "name", name, "claim", claim.Namespace+"/"+claim.Name, "error", err)
	return err
}

func (p *provisioner) reclaim(ctx context.Context, volume *core.PersistentVolume) error {
	if volume.Annotations[provisionerOfVolume] != provisionerName || volume.Status.Phase != core.VolumeReleased ||
		volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
		return nil
	}
	if volume.Spec.Local == nil || filepath.Dir(volume.Spec.Local.Path) != p.directory {
		return fmt.Errorf("volume %s lies outside %s: left alone", volume.Name, p.directory)
	}
	if err := os.RemoveAll(volume.Spec.Local.Path); err != nil {
		return err
	}
	err := p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{})
	if errors.IsNotFound(err) {
		return nil
	}
	return err
}
