// Command deviceplugin offers made-up GPUs to the kubelet of one node, through the same gRPC API
// that NVIDIA's device plug-in uses. A container that asks for GPUs gets NVIDIA_VISIBLE_DEVICES with
// the names of the devices it was given, as a container on a real GPU node does.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

const socketName = "testbed-gpu.sock"

type plugin struct {
	api.UnimplementedDevicePluginServer
	devices []*api.Device
}

func (p *plugin) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return &api.DevicePluginOptions{}, nil
}

func (p *plugin) ListAndWatch(_ *api.Empty, stream grpc.ServerStreamingServer[api.ListAndWatchResponse]) error {
	if err := stream.Send(&api.ListAndWatchResponse{Devices: p.devices}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (p *plugin) Allocate(_ context.Context, request *api.AllocateRequest) (*api.AllocateResponse, error) {
	response := &api.AllocateResponse{}
	for _, container := range request.ContainerRequests {
		visible := strings.Join(container.DevicesIds, ",")
		response.ContainerResponses = append(response.ContainerResponses, &api.ContainerAllocateResponse{
			Envs: map[string]string{"NVIDIA_VISIBLE_DEVICES": visible},
		})
	}
	return response, nil
}

func (p *plugin) PreStartContainer(context.Context, *api.PreStartContainerRequest) (*api.PreStartContainerResponse, error) {
	return &api.PreStartContainerResponse{}, nil
}

func (p *plugin) GetPreferredAllocation(context.Context, *api.PreferredAllocationRequest) (*api.PreferredAllocationResponse, error) {
	return &api.PreferredAllocationResponse{}, nil
}

func register(resource string) error {
	connection, err := grpc.NewClient("unix://"+api.KubeletSocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = api.NewRegistrationClient(connection).Register(ctx, &api.RegisterRequest{
		Version: api.Version, Endpoint: socketName, ResourceName: resource,
	})
	return err
}

// untilGone returns when the kubelet removes our socket, which it does each time it starts: the
// program then ends, its supervisor starts it again, and it registers with the new kubelet.
func untilGone(path string) {
	for {
		if _, err := os.Stat(path); err != nil {
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
}

func main() {
	resource := flag.String("resource", "nvidia.com/gpu", "extended resource to offer")
	node := flag.String("node", "node", "name that the devices carry")
	count := flag.Int("devices", 4, "number of devices")
	flag.Parse()

	p := &plugin{}
	for i := range *count {
		p.devices = append(p.devices, &api.Device{ID: fmt.Sprintf("GPU-%s-%d", *node, i), Health: api.Healthy})
	}
	path := filepath.Join(api.DevicePluginPath, socketName)
	if err := os.RemoveAll(path); err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	api.RegisterDevicePluginServer(server, p)
	go func() { log.Fatal(server.Serve(listener)) }()
	if err := register(*resource); err != nil {
		log.Fatalf("the kubelet refused %s: %v", *resource, err)
	}
	log.Printf("offering %d %s", *count, *resource)
	untilGone(path)
	log.Fatalf("%s was removed: the kubelet has restarted", path)
}
